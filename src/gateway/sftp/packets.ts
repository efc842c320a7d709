/**
 * Packets of the SFTP protocol, version 3 (draft-ietf-secsh-filexfer-02): a stream of bytes into packets, a packet into
 * a request, answers into packets. What a client sends is checked here; everything behind gets plain values.
 */
import { SynclineError } from "#model/error.ts";
import { decodeName, encodeName } from "#model/path.ts";
import { WireReader } from "#platform/net/ssh-wire.ts";

/** What OpenSSH's server takes; a client that asks for the limits sends as much as fits. */
export const PACKET_BYTES_MAX = 256 << 10;
/** Data of one read or write. */
export const DATA_BYTES_MAX = PACKET_BYTES_MAX - 1024;
/** Longest path in a packet. */
const PATH_BYTES_MAX = 16 << 10;
const HANDLE_BYTES_MAX = 256;
/** Pairs of extended attributes are skipped; nobody sends more. */
const EXTENDED_MAX = 64;

export const STATUS = {
  ok: 0,
  eof: 1,
  noSuchFile: 2,
  permissionDenied: 3,
  failure: 4,
  badMessage: 5,
  unsupported: 8,
} as const;
export type Status = (typeof STATUS)[keyof typeof STATUS];

export const OPEN = { read: 1, write: 2, append: 4, create: 8, truncate: 16, exclusive: 32 } as const;

const HAS_SIZE = 1;
const HAS_OWNER = 2;
const HAS_MODE = 4;
const HAS_TIMES = 8;
const HAS_EXTENDED = 0x80000000;

/** What a client wants to be set; undefined: as it is. */
export type WantedAttrs = {
  readonly size: number | undefined;
  readonly owner: { readonly uid: number; readonly gid: number } | undefined;
  /** Permission bits. */
  readonly mode: number | undefined;
  readonly mtimeSeconds: number | undefined;
};

/** What is told of an entry. */
export type ShownAttrs = {
  readonly size: number;
  readonly owner: { readonly uid: number; readonly gid: number } | undefined;
  /** With the bits of the kind. */
  readonly mode: number;
  readonly mtimeSeconds: number | undefined;
};

type OfPath<T extends string> = T extends string ? { readonly type: T; readonly id: number; readonly path: string } : never;
type OfAttrs<T extends string> = OfPath<T> & { readonly attrs: WantedAttrs };

export type Request =
  | { readonly type: "init"; readonly version: number }
  | { readonly type: "open"; readonly id: number; readonly path: string; readonly flags: number; readonly attrs: WantedAttrs }
  | { readonly type: "close" | "fstat" | "readdir"; readonly id: number; readonly handle: string }
  | {
      readonly type: "read";
      readonly id: number;
      readonly handle: string;
      readonly offset: number;
      readonly length: number;
    }
  | {
      readonly type: "write";
      readonly id: number;
      readonly handle: string;
      readonly offset: number;
      readonly data: Uint8Array;
    }
  | OfPath<"stat" | "lstat" | "opendir" | "remove" | "rmdir" | "realpath" | "readlink">
  | OfAttrs<"setstat">
  | OfAttrs<"mkdir">
  | { readonly type: "fsetstat"; readonly id: number; readonly handle: string; readonly attrs: WantedAttrs }
  | { readonly type: "rename"; readonly id: number; readonly from: string; readonly to: string }
  | { readonly type: "symlink"; readonly id: number; readonly target: string; readonly path: string }
  | { readonly type: "extended"; readonly id: number; readonly name: string; readonly body: Fields }
  /** Of a type that is not known, or not to be made sense of. */
  | { readonly type: "other"; readonly id: number; readonly isMalformed: boolean };

const TYPES: Record<number, Request["type"]> = {
  1: "init",
  3: "open",
  4: "close",
  5: "read",
  6: "write",
  7: "lstat",
  8: "fstat",
  9: "setstat",
  10: "fsetstat",
  11: "opendir",
  12: "readdir",
  13: "remove",
  14: "mkdir",
  15: "rmdir",
  16: "realpath",
  17: "stat",
  18: "rename",
  19: "readlink",
  20: "symlink",
  200: "extended",
};

/** Cuts a stream into packets. */
export class PacketSplitter {
  readonly #head = new Uint8Array(4);
  #headBytes = 0;
  #packet: Uint8Array | undefined;
  #packetBytes = 0;

  /**
   * Calls back with each packet that ends in these bytes, without its length. It may be a view of `bytes`.
   * @throws {SynclineError} PROTOCOL for a length that no packet has
   */
  push(bytes: Uint8Array, onPacket: (packet: Uint8Array) => void): void {
    let at = 0;
    while (at < bytes.length) {
      if (this.#packet === undefined) {
        while (this.#headBytes < 4 && at < bytes.length) this.#head[this.#headBytes++] = bytes[at++]!;
        if (this.#headBytes < 4) return;
        const length = new DataView(this.#head.buffer).getUint32(0);
        if (length === 0 || length > PACKET_BYTES_MAX) throw badLength(length);
        if (bytes.length - at >= length) {
          this.#headBytes = 0;
          onPacket(bytes.subarray(at, at + length));
          at += length;
          continue;
        }
        this.#packet = new Uint8Array(length);
        this.#packetBytes = 0;
      }
      const part = bytes.subarray(at, at + this.#packet.length - this.#packetBytes);
      this.#packet.set(part, this.#packetBytes);
      this.#packetBytes += part.length;
      at += part.length;
      if (this.#packetBytes < this.#packet.length) return;
      const whole = this.#packet;
      this.#packet = undefined;
      this.#headBytes = 0;
      onPacket(whole);
    }
  }
}

function badLength(length: number): SynclineError {
  const message = `a packet of ${length} bytes; there are packets of 1 to ${PACKET_BYTES_MAX}`;
  return new SynclineError({ code: "PROTOCOL", op: "read SFTP packet", message });
}

/** The fields of a packet, in order. Running over the end throws RangeError. */
export class Fields extends WireReader {
  /** A position or a size. Beyond what a number holds exactly there is no file. */
  position64(): number {
    const value = this.uint64();
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new RangeError("no such position");
    return Number(value);
  }

  path(): string {
    return decodeName(this.string(PATH_BYTES_MAX));
  }

  handle(): string {
    return Buffer.from(this.string(HANDLE_BYTES_MAX)).toString("latin1");
  }

  attrs(): WantedAttrs {
    const flags = this.uint32();
    const size = (flags & HAS_SIZE) === 0 ? undefined : this.position64();
    const owner = (flags & HAS_OWNER) === 0 ? undefined : { uid: this.uint32(), gid: this.uint32() };
    const mode = (flags & HAS_MODE) === 0 ? undefined : this.uint32() & 0o7777;
    let mtimeSeconds: number | undefined;
    if ((flags & HAS_TIMES) !== 0) {
      this.uint32();
      mtimeSeconds = this.uint32();
    }
    if ((flags & HAS_EXTENDED) !== 0) {
      const count = this.uint32();
      if (count > EXTENDED_MAX) throw new RangeError("too many extended attributes");
      for (let left = count; left > 0; left--) {
        this.string(PACKET_BYTES_MAX);
        this.string(PACKET_BYTES_MAX);
      }
    }
    return { size, owner, mode, mtimeSeconds };
  }
}

/**
 * What a packet asks for.
 * @throws {SynclineError} PROTOCOL when it is too short to be answered
 */
export function readRequest(packet: Uint8Array): Request {
  if (packet.length < 5) {
    const message = `a packet of ${packet.length} bytes has no number to be answered by`;
    throw new SynclineError({ code: "PROTOCOL", op: "read SFTP packet", message });
  }
  const fields = new Fields(packet, 1);
  const type = TYPES[packet[0]!];
  // For the first packet of all it is the version.
  const id = fields.uint32();
  if (type === undefined) return { type: "other", id, isMalformed: false };
  try {
    return readFields(type, id, fields);
  } catch (error) {
    if (error instanceof RangeError) return { type: "other", id, isMalformed: true };
    throw error;
  }
}

function readFields(type: Request["type"], id: number, fields: Fields): Request {
  switch (type) {
    case "init":
      return { type, version: id };
    case "open":
      return { type, id, path: fields.path(), flags: fields.uint32(), attrs: fields.attrs() };
    case "close":
    case "fstat":
    case "readdir":
      return { type, id, handle: fields.handle() };
    case "read":
      return { type, id, handle: fields.handle(), offset: fields.position64(), length: fields.uint32() };
    case "write":
      return { type, id, handle: fields.handle(), offset: fields.position64(), data: fields.string(PACKET_BYTES_MAX) };
    case "setstat":
    case "mkdir":
      return { type, id, path: fields.path(), attrs: fields.attrs() };
    case "fsetstat":
      return { type, id, handle: fields.handle(), attrs: fields.attrs() };
    case "rename":
      return { type, id, from: fields.path(), to: fields.path() };
    case "symlink":
      // The draft has them the other way round; every client does as OpenSSH does.
      return { type, id, target: fields.path(), path: fields.path() };
    case "extended":
      return { type, id, name: Buffer.from(fields.string(HANDLE_BYTES_MAX)).toString("latin1"), body: fields };
    case "other":
      return { type, id, isMalformed: false };
    default:
      return { type, id, path: fields.path() };
  }
}

/** Writes one packet. Grows as it must; what it is asked to write is bounded by who asks. */
export class PacketWriter {
  #bytes: Uint8Array;
  #view: DataView;
  #at = 4;

  constructor(type: number, id: number | undefined, room = 256) {
    this.#bytes = new Uint8Array(room);
    this.#view = new DataView(this.#bytes.buffer);
    this.#bytes[this.#at++] = type;
    if (id !== undefined) this.uint32(id);
  }

  get length(): number {
    return this.#at;
  }

  #room(count: number): void {
    if (this.#at + count <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.#at + count));
    larger.set(this.#bytes);
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer);
  }

  uint32(value: number): this {
    this.#room(4);
    this.#view.setUint32(this.#at, value);
    this.#at += 4;
    return this;
  }

  uint64(value: number): this {
    this.#room(8);
    this.#view.setBigUint64(this.#at, BigInt(value));
    this.#at += 8;
    return this;
  }

  bytes(value: Uint8Array): this {
    this.uint32(value.length);
    this.#room(value.length);
    this.#bytes.set(value, this.#at);
    this.#at += value.length;
    return this;
  }

  /** Bytes without their length: the last field of an answer. */
  raw(value: Uint8Array): this {
    this.#room(value.length);
    this.#bytes.set(value, this.#at);
    this.#at += value.length;
    return this;
  }

  /** A path or a name. */
  name(value: string): this {
    return this.bytes(encodeName(value));
  }

  text(value: string): this {
    return this.bytes(Buffer.from(value.toWellFormed()));
  }

  attrs({ size, owner, mode, mtimeSeconds }: ShownAttrs): this {
    this.uint32(HAS_SIZE | HAS_MODE | (owner === undefined ? 0 : HAS_OWNER) | (mtimeSeconds === undefined ? 0 : HAS_TIMES));
    this.uint64(size);
    if (owner !== undefined) this.uint32(owner.uid).uint32(owner.gid);
    this.uint32(mode);
    if (mtimeSeconds !== undefined) this.uint32(mtimeSeconds).uint32(mtimeSeconds);
    return this;
  }

  /** Replaces a number that was written before its value was known. */
  setUint32(at: number, value: number): void {
    this.#view.setUint32(at, value);
  }

  /** The packet with its length. */
  finish(): Uint8Array {
    this.#view.setUint32(0, this.#at - 4);
    return this.#bytes.subarray(0, this.#at);
  }
}

export const ANSWER = { version: 2, status: 101, handle: 102, data: 103, name: 104, attrs: 105, extended: 201 } as const;

export function statusPacket(id: number, status: Status, message: string): Uint8Array {
  return new PacketWriter(ANSWER.status, id).uint32(status).text(message).text("").finish();
}

/** Bytes of a data packet before the data. */
const DATA_HEAD_BYTES = 13;

/** A packet for `length` bytes of data, and where they go. */
export function dataPacket(length: number): { packet: Uint8Array; room: Uint8Array } {
  const packet = new Uint8Array(DATA_HEAD_BYTES + length);
  return { packet, room: packet.subarray(DATA_HEAD_BYTES) };
}

/** Fills in the head, for `count` bytes of data. */
export function finishData(packet: Uint8Array, id: number, count: number): Uint8Array {
  const view = new DataView(packet.buffer);
  view.setUint32(0, DATA_HEAD_BYTES - 4 + count);
  packet[4] = ANSWER.data;
  view.setUint32(5, id);
  view.setUint32(9, count);
  return packet.subarray(0, DATA_HEAD_BYTES + count);
}
