/** The program of the thread that makes files: see create-thread.ts. */
import { type Fd, FsError } from "#platform/file-system.ts";
import { type CreateAnswer, type CreateOrder, CreateRoom, type CreateSetup, LONGS_EACH, WORDS_EACH } from "#platform/linux/create-order.ts";
import { openLibc } from "#platform/linux/libc.ts";
import { LinuxFileSystem } from "#platform/linux/linux-file-system.ts";
import { createFile } from "#platform/portable/create-files.ts";

declare const self: {
  onmessage: (event: { data: CreateSetup | CreateOrder }) => void;
  postMessage: (answer: CreateAnswer) => void;
};

let files: LinuxFileSystem | undefined;
/** By their memory, of which there are few. */
const rooms = new WeakMap<SharedArrayBuffer, CreateRoom>();

function roomOf(memory: SharedArrayBuffer): CreateRoom {
  const known = rooms.get(memory);
  if (known !== undefined) return known;
  const room = new CreateRoom(memory);
  rooms.set(memory, room);
  return room;
}

function start({ umask }: CreateSetup): void {
  const libc = openLibc();
  if (libc === undefined) throw new Error("no C library");
  files = new LinuxFileSystem(libc, umask);
}

function work(fs: LinuxFileSystem, { id, memory, names, count }: CreateOrder): void {
  const { bytes, words, longs } = roomOf(memory);
  const list = names.split("/");
  if (list.length !== count) throw new Error("a name with a slash in it");
  const failed: [number, string][] = [];
  let done = 0;
  for (let at = 0; at < count; at++) {
    const word = at * WORDS_EACH;
    const long = at * LONGS_EACH;
    const length = words[word + 2]!;
    const mtimeNs = words[word + 3] === 1 ? longs[long + 2] : undefined;
    const file = { dir: words[word] as Fd, name: list[at]!, mode: words[word + 1]!, bytes: bytes.subarray(done, done + length), mtimeNs };
    done += length;
    try {
      const made = createFile(fs, file);
      longs[long] = BigInt.asIntN(64, made.ino);
      longs[long + 1] = made.ctimeNs;
      longs[long + 2] = made.mtimeNs;
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      failed.push([at, error.code]);
    }
  }
  self.postMessage({ id, failed });
}

self.onmessage = ({ data }) => {
  if ("umask" in data) start(data);
  else if (files === undefined) throw new Error("not set up");
  else work(files, data);
};
