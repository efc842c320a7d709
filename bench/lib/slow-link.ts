/**
 * A slow, lossy line between two network devices, as a process: `bun slow-link.ts NAME DELAY_MS LOSS SEED CUT_FILE`.
 *
 * It makes two TUN devices, NAME-h and NAME-a, and carries IP packets between them: each later by the delay, some never,
 * and none while CUT_FILE exists. What is lost is decided for each packet by a seeded generator. The kernels of these
 * machines have no netem; for TCP above it, this is the same. It says {"ready":true} when the devices exist, then what it
 * has carried, every half second. The devices go away with the process.
 */
import { dlopen, ptr } from "bun:ffi";
import { constants, existsSync, openSync, readSync, writeSync } from "node:fs";

/** struct ifreq, and the request that gives a descriptor of /dev/net/tun its device. */
const IFREQ_BYTES = 40;
const TUNSETIFF = 0x400454ca;
const IFF_TUN_NO_PACKET_INFO = 0x1001;

const PACKET_BYTES_MAX = 65_536;
/** Packets on their way in one direction; more are lost, as in any router. */
const QUEUE_MAX = 4096;
const POLLIN = 1;
const REPORT_EVERY_MS = 500;
const CUT_LOOK_EVERY_MS = 20;

const libc = dlopen("libc.so.6", {
  ioctl: { args: ["int", "u64", "ptr"], returns: "int" },
  poll: { args: ["ptr", "u64", "int"], returns: "int" },
});

type Packet = { readonly dueMs: number; readonly bytes: Uint8Array };
type End = { readonly descriptor: number; readonly arriving: Packet[] };

const [name = "", delayText = "", lossText = "", seedText = "", cutFile = ""] = process.argv.slice(2);
const delayMs = Number(delayText);
const loss = Number(lossText);
const count = { carried: 0, lost: 0, cut: 0, overflowed: 0 };

function openDevice(device: string): number {
  const descriptor = openSync("/dev/net/tun", constants.O_RDWR | constants.O_NONBLOCK);
  const request = Buffer.alloc(IFREQ_BYTES);
  request.write(device, 0, 15, "latin1");
  request.writeUInt16LE(IFF_TUN_NO_PACKET_INFO, 16);
  if (libc.symbols.ioctl(descriptor, TUNSETIFF, ptr(request)) !== 0) throw new Error(`no device ${device}`);
  return descriptor;
}

/** xorshift32: enough to say which packets are lost, and the same for each run. */
function* numbers(seed: number): Generator<number, never> {
  for (let state = seed | 1; ; ) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    yield (state >>> 0) / 2 ** 32;
  }
}

const ends: readonly [End, End] = [
  { descriptor: openDevice(`${name}-h`), arriving: [] },
  { descriptor: openDevice(`${name}-a`), arriving: [] },
];
const chance = numbers(Number(seedText));
const buffer = new Uint8Array(PACKET_BYTES_MAX);
let isCut = false;

/** Everything that waits at `from` goes on its way to `to`. */
function take(from: End, to: End): void {
  for (;;) {
    let length: number;
    try {
      length = readSync(from.descriptor, buffer);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // EIO: the device is not up yet.
      if (code === "EAGAIN" || code === "EIO") return;
      throw error;
    }
    if (isCut) count.cut++;
    else if (chance.next().value < loss) count.lost++;
    else if (to.arriving.length >= QUEUE_MAX) count.overflowed++;
    else to.arriving.push({ dueMs: performance.now() + delayMs, bytes: buffer.slice(0, length) });
  }
}

function deliver({ descriptor, arriving }: End): void {
  const nowMs = performance.now();
  let due = 0;
  for (; due < arriving.length && arriving[due]!.dueMs <= nowMs; due++) {
    if (isCut) {
      count.cut++;
      continue;
    }
    try {
      writeSync(descriptor, arriving[due]!.bytes);
      count.carried++;
    } catch (error) {
      // The device is down, or its queue is full: lost, like anything else.
      count.overflowed++;
      if (!["EIO", "EAGAIN", "ENOBUFS", "EINVAL"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
    }
  }
  arriving.splice(0, due);
}

/** Until something can be read or must be delivered; at most 10 ms, so that a signal is heard. */
function rest(poll: Int32Array): void {
  const nowMs = performance.now();
  const dueMs = Math.min(...ends.map(({ arriving }) => arriving[0]?.dueMs ?? Infinity));
  libc.symbols.poll(ptr(poll), ends.length, Math.max(0, Math.min(10, Math.ceil(dueMs - nowMs))));
}

const poll = new Int32Array(ends.flatMap(({ descriptor }) => [descriptor, POLLIN]));
let reportedMs = 0;
let lookedMs = 0;
console.log(JSON.stringify({ ready: true }));
for (;;) {
  rest(poll);
  const nowMs = performance.now();
  if (nowMs - lookedMs > CUT_LOOK_EVERY_MS) [isCut, lookedMs] = [existsSync(cutFile), nowMs];
  take(ends[0], ends[1]);
  take(ends[1], ends[0]);
  for (const end of ends) deliver(end);
  if (nowMs - reportedMs > REPORT_EVERY_MS) {
    console.log(JSON.stringify(count));
    reportedMs = nowMs;
  }
  await new Promise((turned) => setImmediate(turned));
}
