/**
 * A network between two simulated hosts: byte streams that take time, arrive in other pieces than they were sent in,
 * stall, are cut, and a partition that swallows everything without a word. All of it on the simulated clock.
 */
import { SynclineError } from "#model/error.ts";
import { EventGate } from "#platform/net/event-gate.ts";
import type { Transport, TransportHandlers } from "#platform/net/transport.ts";
import type { SimClock } from "#testing/sim-clock.ts";
import type { SimRandom } from "#testing/sim-random.ts";

export type SimNetFaults = {
  /** Longest time that bytes are under way. Default 0: the next turn. */
  readonly delayMs?: number;
  /** Chance, for each write, that the line is cut then. What is under way is lost. */
  readonly cutChance?: number;
  /** Chance, for each write, that nothing passes for up to `stallMs`. */
  readonly stallChance?: number;
  readonly stallMs?: number;
};

/** Bytes under way in one direction before a writer must wait. */
const FLIGHT_BYTES = 64 << 10;
/** Bytes that arrive at once, at most. */
const PIECE_BYTES = 16 << 10;
/** How long after a cut the slower side still believes in the line. */
const CUT_NOTICE_MS = 500;

export type SimLine = { readonly client: Transport; readonly server: Transport };

export class SimNet {
  readonly clock: SimClock;
  readonly random: SimRandom;
  faults: SimNetFaults;
  readonly #lines = new Set<[SimEnd, SimEnd]>();
  #blockedUntilMs = 0;

  constructor(clock: SimClock, random: SimRandom, faults: SimNetFaults = {}) {
    this.clock = clock;
    this.random = random;
    this.faults = faults;
  }

  /** Until when nothing passes, on the monotonic clock. */
  get blockedUntilMs(): number {
    return this.#blockedUntilMs;
  }

  /** For so long nothing passes and nobody can connect; lines that stand learn nothing of it. */
  partition(ms: number): void {
    // In whole milliseconds, so that no timer fires a fraction of a nanosecond too early, again and again.
    this.#blockedUntilMs = Math.max(this.#blockedUntilMs, Math.ceil(this.clock.monotonicMs() + ms));
  }

  /** The network works again and goes on working. Lines that were cut stay so. */
  heal(): void {
    this.#blockedUntilMs = 0;
    this.faults = {};
    for (const line of this.#lines) for (const end of line) end.wake();
  }

  /** @throws {SynclineError} LINK_LOST while nothing passes */
  connect(): SimLine {
    if (this.#blockedUntilMs > this.clock.monotonicMs()) {
      throw new SynclineError({ code: "LINK_LOST", op: "connect", message: "no route to the host", retryable: true });
    }
    const client = new SimEnd(this, "server");
    const server = new SimEnd(this, "client");
    client.other = server;
    server.other = client;
    this.#lines.add([client, server]);
    return { client, server };
  }

  /** Cuts every line now. */
  cutAll(): void {
    for (const [client] of this.#lines) client.cut();
    this.#lines.clear();
  }

  /** The process at one end of every line has died: it hears and says nothing more. Told: the other end learns of it. */
  died(which: "client" | "server", told: boolean): void {
    for (const line of this.#lines) line[which === "client" ? 0 : 1].die(told);
    if (told) this.#lines.clear();
  }
}

class SimEnd implements Transport {
  readonly label: string;
  other!: SimEnd;
  readonly #net: SimNet;
  readonly #gate = new EventGate();
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #full = false;
  #lastAtMs = 0;
  #moving = false;
  #ending = false;
  #turn = 0;

  constructor(net: SimNet, label: string) {
    this.#net = net;
    this.label = label;
  }

  write(bytes: Uint8Array): boolean {
    if (this.#gate.closed || this.#ending || bytes.length === 0) return true;
    const { random, faults } = this.#net;
    if (random.chance(faults.cutChance ?? 0)) {
      this.cut();
      return true;
    }
    if (random.chance(faults.stallChance ?? 0)) this.#net.partition(random.real() * (faults.stallMs ?? 1000));
    this.#queue.push(bytes.slice());
    this.#queuedBytes += bytes.length;
    this.#full ||= this.#queuedBytes > FLIGHT_BYTES;
    this.#move();
    return !this.#full;
  }

  listen(handlers: TransportHandlers): void {
    this.#gate.listen(handlers);
  }

  close(): void {
    if (this.#gate.closed) return;
    this.#ending = true;
    this.#gate.close(undefined);
    this.#move();
  }

  /** Both sides lose the line, not quite at the same time. */
  cut(): void {
    const { clock, random } = this.#net;
    const error = new Error("connection reset");
    for (const end of [this, this.other]) {
      end.#queue = [];
      end.#ending = true;
      clock.after(random.real() * CUT_NOTICE_MS, () => end.#gate.close(error));
    }
  }

  die(told: boolean): void {
    this.#queue = [];
    this.#ending = true;
    this.#gate.close(new Error("the process has ended"));
    if (told) this.#net.clock.after(this.#net.random.real() * CUT_NOTICE_MS, () => this.other.#gate.close(undefined));
  }

  /** What waits for a partition to end waits no more. */
  wake(): void {
    this.#moving = false;
    this.#lastAtMs = 0;
    if (this.#queue.length > 0 || this.#ending) this.#move();
  }

  #move(): void {
    if (this.#moving) return;
    this.#moving = true;
    const turn = ++this.#turn;
    const { clock, random, faults } = this.#net;
    const now = clock.monotonicMs();
    this.#lastAtMs = Math.max(this.#lastAtMs, now + random.real() * (faults.delayMs ?? 0), this.#net.blockedUntilMs);
    clock.after(this.#lastAtMs - now, () => {
      if (turn !== this.#turn) return;
      this.#moving = false;
      this.#arrive();
    });
  }

  #arrive(): void {
    if (this.#net.blockedUntilMs > this.#net.clock.monotonicMs()) return this.#move();
    const queue = this.#queue;
    this.#queue = [];
    this.#queuedBytes = 0;
    for (const bytes of queue) this.#deliver(bytes);
    if (this.#ending) return this.other.#gate.close(undefined);
    if (!this.#full) return;
    this.#full = false;
    this.#gate.drained();
  }

  #deliver(bytes: Uint8Array): void {
    const { random } = this.#net;
    for (let at = 0; at < bytes.length; ) {
      const most = Math.min(PIECE_BYTES, bytes.length - at);
      const length = random.chance(0.05) ? 1 + random.int(most) : most;
      if (!this.other.#gate.closed && !this.other.#gate.data(bytes.subarray(at, at + length))) this.cut();
      at += length;
    }
  }
}
