/**
 * Small files made on a thread of its own: nearly all of that is work of the kernel, 20 µs and more for each, and whoever
 * wants many has the next ones to receive, decode and hash meanwhile. The thread starts with the first call, and ends when
 * nothing was asked of it for a while.
 */
import { FsError, type MadeFile, NEW_FILES_BYTES_MAX, NEW_FILES_MAX, type NewFile } from "#platform/file-system.ts";
import { type CreateAnswer, type CreateOrder, CreateRoom, type CreateSetup, LONGS_EACH, WORDS_EACH } from "#platform/linux/create-order.ts";
import { processors, startWorker } from "#platform/worker-thread.ts";

/** Calls under way at most: one that is worked on and one that waits, for two who ask. Any more are refused. */
const ROOMS_MAX = 4;
/** Fewer files are made sooner by who asks than by waking another thread. */
const FILES_MIN = 64;
/** A thread without work is given up after this long. */
const IDLE_MS_MAX = 10_000;

type Creating = {
  readonly room: CreateRoom;
  readonly files: readonly NewFile[];
  readonly resolve: (made: (MadeFile | FsError)[]) => void;
};

export class CreateThread {
  readonly #umask: number;
  #worker: Worker | undefined;
  #isBroken = processors() < 2;
  readonly #underWay = new Map<number, Creating>();
  #free: CreateRoom[] = [];
  #rooms = 0;
  #nextId = 0;
  #idle: ReturnType<typeof setTimeout> | undefined;

  constructor(umask: number) {
    this.#umask = umask;
  }

  /** As FileSystem.createFiles; undefined, and nothing done, where the thread cannot take them. */
  create(files: readonly NewFile[]): Promise<(MadeFile | FsError)[]> | undefined {
    if (this.#isBroken || files.length < FILES_MIN || files.length > NEW_FILES_MAX) return undefined;
    const room = this.#free.pop() ?? (this.#rooms < ROOMS_MAX ? this.#newRoom() : undefined);
    if (room === undefined) return undefined;
    if (!fill(room, files)) {
      this.#free.push(room);
      return undefined;
    }
    const id = this.#nextId++;
    const { promise, resolve } = Promise.withResolvers<(MadeFile | FsError)[]>();
    this.#underWay.set(id, { room, files, resolve });
    clearTimeout(this.#idle);
    const worker = (this.#worker ??= this.#start());
    worker.ref();
    const names = files.map(({ name }) => name).join("/");
    worker.postMessage({ id, memory: room.memory, names, count: files.length } satisfies CreateOrder);
    return promise;
  }

  #newRoom(): CreateRoom {
    this.#rooms++;
    return new CreateRoom();
  }

  #start(): Worker {
    const answered = (answer: CreateAnswer): void => this.#answered(answer);
    const worker: Worker = startWorker("platform/linux/create-worker.ts", answered, () => {
      // One that was given up has ended, too.
      if (this.#worker === worker) this.#breakDown();
    });
    worker.postMessage({ umask: this.#umask } satisfies CreateSetup);
    return worker;
  }

  #answered({ id, failed }: CreateAnswer): void {
    const creating = this.#underWay.get(id);
    if (creating === undefined) return;
    this.#underWay.delete(id);
    const { room, files, resolve } = creating;
    const made = madeIn(room, files, failed);
    this.#free.push(room);
    if (this.#underWay.size === 0) this.#rest();
    resolve(made);
  }

  #rest(): void {
    this.#worker?.unref();
    this.#idle = setTimeout(() => {
      this.#worker?.terminate();
      this.#worker = undefined;
      this.#rooms = 0;
      this.#free = [];
    }, IDLE_MS_MAX);
    this.#idle.unref();
  }

  /** How far it came with what it had nobody can say: all of that counts as failed. */
  #breakDown(): void {
    this.#isBroken = true;
    this.#worker?.terminate();
    this.#worker = undefined;
    for (const { files, resolve } of this.#underWay.values()) resolve(files.map(({ name }) => new FsError("EIO", "create", name)));
    this.#underWay.clear();
  }
}

/** False when they have more bytes than it takes. */
function fill({ bytes, words, longs }: CreateRoom, files: readonly NewFile[]): boolean {
  let done = 0;
  for (let at = 0; at < files.length; at++) {
    const file = files[at]!;
    const { length } = file.bytes;
    if (done + length > NEW_FILES_BYTES_MAX) return false;
    bytes.set(file.bytes, done);
    done += length;
    const word = at * WORDS_EACH;
    words[word] = file.dir;
    words[word + 1] = file.mode;
    words[word + 2] = length;
    words[word + 3] = file.mtimeNs === undefined ? 0 : 1;
    longs[at * LONGS_EACH + 2] = file.mtimeNs ?? 0n;
  }
  return true;
}

function madeIn({ longs }: CreateRoom, files: readonly NewFile[], failed: CreateAnswer["failed"]): (MadeFile | FsError)[] {
  const made: (MadeFile | FsError)[] = files.map((_, at) => {
    const long = at * LONGS_EACH;
    return { ino: BigInt.asUintN(64, longs[long]!), ctimeNs: longs[long + 1]!, mtimeNs: longs[long + 2]! };
  });
  for (const [at, code] of failed) made[at] = new FsError(code, "create", files[at]!.name);
  return made;
}
