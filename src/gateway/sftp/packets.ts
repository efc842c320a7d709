/**
 * Packets of the SFTP protocol as a server has them: a packet into a request, answers into packets. What a client sends is
 * checked here; everything behind gets plain values.
 */
import { SynclineError } from "#model/error.ts";
import {
  ANSWER,
  Fields,
  HANDLE_BYTES_MAX,
  PACKET_BYTES_MAX,
  PacketWriter,
  REQUEST,
  type Status,
  type WantedAttrs,
} from "#platform/net/sftp-wire.ts";

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

const TYPES: Record<number, Request["type"]> = Object.fromEntries(
  Object.entries(REQUEST).map(([name, type]) => [type, name as keyof typeof REQUEST]),
);

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
