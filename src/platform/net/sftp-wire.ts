/**
 * What both ends of the SFTP protocol, version 3 (draft-ietf-secsh-filexfer-02), write and read: a stream of bytes into
 * packets, the fields of a packet, a packet into bytes. Which requests there are to whom is the business of each end.
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
export const HANDLE_BYTES_MAX = 256;
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

/** Kinds of requests. */
export const REQUEST = {
  init: 1,
  open: 3,
  close: 4,
  read: 5,
  write: 6,
  lstat: 7,
  fstat: 8,
  setstat: 9,
  fsetstat: 10,
  opendir: 11,
  readdir: 12,
  remove: 13,
  mkdir: 14,
  rmdir: 15,
  realpath: 16,
  stat: 17,
  rename: 18,
  readlink: 19,
  symlink: 20,
  extended: 200,
} as const;

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

export const ANSWER = { version: 2, status: 101, handle: 102, data: 103, name: 104, attrs: 105, extended: 201 } as const;

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

  /** What is wanted to be set. */
  attrs(): WantedAttrs {
    const attrs = this.toldAttrs();
    return attrs.mode === undefined ? attrs : { ...attrs, mode: attrs.mode & 0o7777 };
  }

  /** What is told of an entry, as far as it is told; the mode with the bits of the kind. */
  toldAttrs(): WantedAttrs {
    const flags = this.uint32();
    const size = (flags & HAS_SIZE) === 0 ? undefined : this.position64();
    const owner = (flags & HAS_OWNER) === 0 ? undefined : { uid: this.uint32(), gid: this.uint32() };
    const mode = (flags & HAS_MODE) === 0 ? undefined : this.uint32();
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

  /** What is to be set; the access time goes with the other one, because there is one bit for both. */
  wantedAttrs({ size, owner, mode, mtimeSeconds }: WantedAttrs): this {
    const flags =
      (size === undefined ? 0 : HAS_SIZE) |
      (owner === undefined ? 0 : HAS_OWNER) |
      (mode === undefined ? 0 : HAS_MODE) |
      (mtimeSeconds === undefined ? 0 : HAS_TIMES);
    this.uint32(flags);
    if (size !== undefined) this.uint64(size);
    if (owner !== undefined) this.uint32(owner.uid).uint32(owner.gid);
    if (mode !== undefined) this.uint32(mode);
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
