/**
 * Memory in which files are cut, for both threads, used again from file to file: of new memory each page costs a fault, and
 * what one thread lets go of stays until the other one has looked for garbage as well.
 */

export type Room = Uint8Array<SharedArrayBuffer>;

/** That nobody uses; the smallest is let go of first. */
const IDLE_BYTES_MAX = 24 << 20;

/** By their length. */
const idle: Room[] = [];
let idleBytes = 0;

/** With arbitrary content. */
export function takeRoom(bytes: number): Room {
  const at = idle.findIndex((room) => room.length >= bytes);
  if (at === -1) return new Uint8Array(new SharedArrayBuffer(bytes));
  const [room] = idle.splice(at, 1);
  idleBytes -= room!.length;
  return room!;
}

/** Nobody reads or writes it any more. */
export function giveRoom(room: Room): void {
  const at = idle.findIndex(({ length }) => length > room.length);
  idle.splice(at === -1 ? idle.length : at, 0, room);
  idleBytes += room.length;
  while (idleBytes > IDLE_BYTES_MAX) idleBytes -= idle.shift()!.length;
}
