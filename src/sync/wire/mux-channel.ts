/** One conversation of a Mux. The mux drives it; everyone else sees a Channel. */
import { SynclineError, assert } from "#model/error.ts";
import { CHANNEL_WINDOW_BYTES, type Channel, MESSAGE_BYTES_MAX } from "#sync/wire/channel.ts";
import { protocolError } from "#sync/wire/frame.ts";

/** What a message costs of the window beyond its bytes, so that empty messages cannot fill the memory. */
const MESSAGE_COST = 64;
/** Credit is given back in pieces of this size: seldom enough to cost nothing, often enough never to stall. */
const CREDIT_STEP_BYTES = CHANNEL_WINDOW_BYTES / 4;

export function costOf(length: number): number {
  return length + MESSAGE_COST;
}

/** What a channel asks of its mux. */
export type ChannelOwner = {
  /** Sends at once if nothing stands before it; true when that happened and the bytes are free again. */
  trySend(channel: MuxChannel, message: Uint8Array): boolean;
  /** The channel has something to send. */
  ready(channel: MuxChannel): void;
  credit(channel: MuxChannel, bytes: number): void;
  failed(channel: MuxChannel, error: Error): void;
};

export type Outgoing = {
  readonly bytes: Uint8Array;
  readonly isGiven: boolean;
  readonly sent: () => void;
  readonly lost: (error: Error) => void;
};
type Waiter = { resolve: (message: Uint8Array | undefined) => void; reject: (error: Error) => void };

export class MuxChannel implements Channel {
  readonly id: number;
  readonly method: string;
  /** True while the channel stands in the mux's queue of channels that want to send. */
  queued = false;
  readonly #owner: ChannelOwner;
  readonly #abort = new AbortController();
  #outbox: Outgoing[] = [];
  #credit = CHANNEL_WINDOW_BYTES;
  #ending = false;
  #endSent = false;
  #inbox: Uint8Array[] = [];
  #inboxHead = 0;
  #window = CHANNEL_WINDOW_BYTES;
  #owed = 0;
  #remoteEnded = false;
  #waiter: Waiter | undefined;
  #failure: Error | undefined;

  constructor(id: number, method: string, owner: ChannelOwner) {
    this.id = id;
    this.method = method;
    this.#owner = owner;
  }

  /** Aborted with the reason when the channel fails, from either side or with the connection. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Neither side will send any more. */
  get finished(): boolean {
    return this.#endSent && this.#remoteEnded;
  }

  /** Bytes that came, or are coming, and were not yet received by the channel's user. */
  get bufferedBytes(): number {
    return CHANNEL_WINDOW_BYTES - this.#window - this.#owed;
  }

  send(message: Uint8Array, isGiven = false): Promise<void> | void {
    if (this.#failure !== undefined) throw this.#failure;
    assert(!this.#ending, "message after the end of a channel");
    if (message.length > MESSAGE_BYTES_MAX) {
      throw new SynclineError({ code: "LIMIT", op: "send", message: `a message of ${message.length} bytes` });
    }
    if (this.#outbox.length === 0 && costOf(message.length) <= this.#credit && this.#owner.trySend(this, message)) {
      this.#credit -= costOf(message.length);
      return;
    }
    return new Promise((resolve, reject) => {
      this.#outbox.push({ bytes: message, isGiven, sent: resolve, lost: reject });
      if (this.sendable) this.#owner.ready(this);
    });
  }

  async receive(): Promise<Uint8Array | undefined> {
    assert(this.#waiter === undefined, "two receivers on one channel");
    const message = this.#inbox[this.#inboxHead];
    if (message !== undefined) {
      this.#inbox[this.#inboxHead++] = EMPTY;
      if (this.#inboxHead === this.#inbox.length || this.#inboxHead > 1024) {
        this.#inbox.splice(0, this.#inboxHead);
        this.#inboxHead = 0;
      }
      this.#taken(message.length);
      return message;
    }
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#remoteEnded) return undefined;
    return new Promise((resolve, reject) => {
      this.#waiter = { resolve, reject };
    });
  }

  end(): void {
    if (this.#ending || this.#failure !== undefined) return;
    this.#ending = true;
    this.#owner.ready(this);
  }

  fail(error: Error): void {
    if (this.#failure !== undefined || this.finished) return;
    this.settle(error);
    this.#owner.failed(this, error);
  }

  /** A message or the end may go out now. */
  get sendable(): boolean {
    const next = this.#outbox[0];
    if (next !== undefined) return costOf(next.bytes.length) <= this.#credit;
    return this.#ending && !this.#endSent;
  }

  /** The next thing to send, taken off the queue: a message, or the end. Only when sendable. */
  take(): Outgoing | undefined {
    const next = this.#outbox.shift();
    if (next === undefined) this.#endSent = true;
    else this.#credit -= costOf(next.bytes.length);
    return next;
  }

  /** The other side took bytes off its queue. */
  credited(bytes: number): void {
    if (bytes > CHANNEL_WINDOW_BYTES - this.#credit) throw protocolError("more credit than was used");
    this.#credit += bytes;
    if (this.sendable) this.#owner.ready(this);
  }

  /** A message is about to arrive: does it keep the window? */
  announced(length: number): void {
    if (this.#remoteEnded) throw protocolError("a message after the end");
    if (costOf(length) > this.#window) throw protocolError("a message beyond the window");
    this.#window -= costOf(length);
  }

  arrived(message: Uint8Array): void {
    const waiter = this.#waiter;
    if (waiter === undefined) {
      this.#inbox.push(message);
      return;
    }
    this.#waiter = undefined;
    this.#taken(message.length);
    waiter.resolve(message);
  }

  ended(): void {
    if (this.#remoteEnded) throw protocolError("a second end");
    this.#remoteEnded = true;
    this.#waiter?.resolve(undefined);
    this.#waiter = undefined;
  }

  /** Fails everything that waits, without telling the other side. */
  settle(error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#inbox = [];
    this.#inboxHead = 0;
    for (const outgoing of this.#outbox.splice(0)) outgoing.lost(error);
    this.#waiter?.reject(error);
    this.#waiter = undefined;
    this.#abort.abort(error);
  }

  #taken(length: number): void {
    this.#owed += costOf(length);
    if (this.#remoteEnded || this.#owed < CREDIT_STEP_BYTES) return;
    this.#window += this.#owed;
    this.#owner.credit(this, this.#owed);
    this.#owed = 0;
  }
}

const EMPTY = new Uint8Array(0);
