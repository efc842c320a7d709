/**
 * Many channels over one byte stream. Channels take turns message by message, so a bulk transfer cannot starve a
 * short question; each has its own window of credit, so a channel nobody reads stops its sender and no one else.
 * The other side is not trusted: what breaks the protocol ends the connection, and memory is bounded by the windows.
 */
import type { Clock } from "#platform/host.ts";
import type { Transport } from "#platform/net/transport.ts";
import { SynclineError, asError, assert } from "#model/error.ts";
import {
  CREDIT,
  DATA,
  END,
  FAIL,
  FrameReader,
  HEADER_BYTES,
  METHOD_BYTES_MAX,
  OPEN,
  PING,
  PONG,
  decodeError,
  encodeError,
  frameBytes,
  protocolError,
  writeHeader,
} from "#sync/wire/frame.ts";
import { giveBackBuffer } from "#sync/wire/buffer-pool.ts";
import { MuxChannel, type Outgoing } from "#sync/wire/mux-channel.ts";

/** Channels open at once; a session needs fewer than ten. */
export const CHANNELS_MAX = 64;
/** Unread bytes of one channel from which the sum over all channels is looked at. */
const CROWD_BYTES = 1 << 20;
/** Unread bytes of all channels together: eight full windows, twice what our own calls can use. */
export const CONNECTION_BYTES_MAX = 64 << 20;
/** After so long without a byte from the other side we ask whether it is there. */
export const PING_MS = 20_000;
/** Silent intervals after which the connection is dead: 60 s. Counted, so that our own sleep kills nothing. */
export const SILENT_PINGS_MAX = 3;
/** Control frames that may wait for a side that does not read. Only a flood of opens or pings gets there. */
export const CONTROL_FRAMES_MAX = 4096;
/** Frames are collected up to this size before they are written: one TLS record train, one system call. */
const BATCH_BYTES = 64 << 10;
/** Largest TLS record. */
const RECORD_BYTES = 16 << 10;
/** Messages up to this size are copied into the batch; larger ones are written from where they are. */
const SMALL_MESSAGE_BYTES = 16 << 10;

export type MuxOptions = {
  readonly role: "client" | "server";
  readonly clock: Clock;
  /** A channel was opened by the other side. Without it every open is a breach of protocol. */
  readonly onOpen?: ((channel: MuxChannel) => void) | undefined;
  /** Bytes that already came off the transport behind the prelude. */
  readonly firstBytes?: Uint8Array | undefined;
  /** Of the other side. */
  readonly abilities?: ReadonlySet<number> | undefined;
};

const METHOD = /^[a-z-]+$/;
const NO_ABILITIES: ReadonlySet<number> = new Set();

export class Mux {
  readonly label: string;
  /** Resolves once with the reason; undefined after an orderly close of this side. Never rejects. */
  readonly closed: Promise<Error | undefined>;
  readonly #closed = Promise.withResolvers<Error | undefined>();
  readonly #transport: Transport;
  readonly #options: MuxOptions;
  readonly #channels = new Map<number, MuxChannel>();
  readonly #watchdog = new AbortController();
  #nextId: number;
  #lastRemoteId: number;
  #turn: MuxChannel[] = [];
  #control: Uint8Array[] = [];
  #batch = new Uint8Array(BATCH_BYTES);
  #batchLength = 0;
  #writable = true;
  #scheduled = false;
  #afterDrain: Outgoing[] = [];
  #sent = 0;
  #received = 0;
  #heard = false;
  #pongOwed = false;
  #dead = false;

  constructor(transport: Transport, options: MuxOptions) {
    this.#transport = transport;
    this.#options = options;
    this.label = transport.label;
    this.closed = this.#closed.promise;
    this.#nextId = options.role === "client" ? 1 : 2;
    this.#lastRemoteId = options.role === "client" ? 0 : -1;
    const reader = new FrameReader({
      header: (channel, type, length) => this.#header(channel, type, length),
      frame: (channel, type, payload) => this.#frame(channel, type, payload),
    });
    const onData = (bytes: Uint8Array): void => {
      if (this.#dead) return;
      this.#heard = true;
      this.#received += bytes.length;
      try {
        reader.push(bytes);
      } catch (error) {
        this.close(error instanceof Error ? error : protocolError(String(error)));
      }
    };
    if (options.firstBytes !== undefined && options.firstBytes.length > 0) onData(options.firstBytes);
    transport.listen({ onData, onDrain: () => this.#drained(), onClose: (error) => this.#lost(error) });
    void this.#watch();
  }

  /** Bytes of frames so far, before encryption. */
  get wireBytes(): { sent: number; received: number } {
    return { sent: this.#sent, received: this.#received };
  }

  get abilities(): ReadonlySet<number> {
    return this.#options.abilities ?? NO_ABILITIES;
  }

  get openChannels(): number {
    return this.#channels.size;
  }

  /** Opens a channel. Throws LINK_LOST on a dead connection, LIMIT with too many channels. */
  open(method: string): MuxChannel {
    assert(METHOD.test(method) && method.length <= METHOD_BYTES_MAX, "a method name of lower-case letters");
    if (this.#dead) throw linkLost(this.label, undefined);
    if (this.#channels.size >= CHANNELS_MAX) {
      throw new SynclineError({ code: "LIMIT", op: method, message: "too many channels at once" });
    }
    const channel = this.#add(this.#nextId, method);
    this.#nextId += 2;
    this.#sendControl(frameBytes(channel.id, OPEN, Buffer.from(method, "latin1")));
    return channel;
  }

  /** Ends the connection: every channel fails, with `error` or LINK_LOST; the other side is told an error. */
  close(error?: Error): void {
    if (this.#dead) return;
    if (error !== undefined) {
      this.#flushBatch();
      this.#write(frameBytes(0, FAIL, encodeError(error)));
    } else {
      this.#pump();
    }
    this.#end(error);
  }

  #add(id: number, method: string): MuxChannel {
    const channel = new MuxChannel(id, method, {
      trySend: (from, message) => this.#trySend(from, message),
      ready: (from) => this.#ready(from),
      credit: (from, bytes) => this.#sendCredit(from, bytes),
      failed: (from, error) => {
        if (this.#channels.delete(from.id)) this.#sendControl(frameBytes(from.id, FAIL, encodeError(error)));
      },
    });
    this.#channels.set(id, channel);
    return channel;
  }

  // Receiving

  #header(id: number, type: number, length: number): boolean {
    if (this.#dead) return false;
    if (id === 0) {
      if (type !== PING && type !== PONG && type !== FAIL) throw protocolError("a channel frame on channel 0");
      return true;
    }
    if (type === PING || type === PONG) throw protocolError("a ping on a channel");
    if (type === OPEN) return true;
    const channel = this.#channels.get(id);
    if (channel === undefined) {
      const ours = (id & 1) === (this.#nextId & 1);
      if (ours ? id >= this.#nextId : id > this.#lastRemoteId) throw protocolError("a channel that was never opened");
      // We failed it a moment ago, and the other side does not know yet.
      return false;
    }
    if (type === DATA) {
      channel.announced(length);
      if (channel.bufferedBytes > CROWD_BYTES) this.#checkCrowd();
    }
    return true;
  }

  #checkCrowd(): void {
    let bytes = 0;
    for (const channel of this.#channels.values()) bytes += channel.bufferedBytes;
    if (bytes > CONNECTION_BYTES_MAX) throw protocolError("more unread bytes than a connection may have");
  }

  #frame(id: number, type: number, payload: Uint8Array): void {
    if (this.#dead) return;
    if (id === 0) return this.#connectionFrame(type, payload);
    if (type === OPEN) return this.#opened(id, payload);
    const channel = this.#channels.get(id);
    // It may have failed while the payload was on its way.
    if (channel === undefined) return;
    switch (type) {
      case DATA:
        return channel.arrived(payload);
      case CREDIT:
        return channel.credited(new DataView(payload.buffer).getUint32(0, true));
      case END:
        channel.ended();
        if (channel.finished) this.#channels.delete(id);
        return;
      default:
        this.#channels.delete(id);
        channel.settle(decodeError(payload));
    }
  }

  #connectionFrame(type: number, payload: Uint8Array): void {
    if (type === PONG) return;
    if (type === FAIL) return this.#end(decodeError(payload));
    // At most one answer waits, however many questions come.
    this.#pongOwed = true;
    this.#schedule();
  }

  #opened(id: number, payload: Uint8Array): void {
    const method = Buffer.from(payload).toString("latin1");
    const isOurs = (id & 1) === (this.#nextId & 1);
    if (isOurs || id <= this.#lastRemoteId) throw protocolError("a channel number out of turn");
    if (!METHOD.test(method)) throw protocolError("a method name that is none");
    const onOpen = this.#options.onOpen;
    if (onOpen === undefined) throw protocolError("this side answers no calls");
    if (this.#channels.size >= CHANNELS_MAX) throw protocolError("too many channels at once");
    this.#lastRemoteId = id;
    onOpen(this.#add(id, method));
  }

  // Sending

  #trySend(channel: MuxChannel, message: Uint8Array): boolean {
    if (!this.#writable || this.#control.length > 0 || message.length > SMALL_MESSAGE_BYTES) return false;
    if (!this.#room(HEADER_BYTES + message.length)) return false;
    this.#appendMessage(channel.id, message);
    return true;
  }

  #appendMessage(id: number, message: Uint8Array): void {
    writeHeader(this.#batch, this.#batchLength, id, DATA, message.length);
    this.#batch.set(message, this.#batchLength + HEADER_BYTES);
    this.#batchLength += HEADER_BYTES + message.length;
    this.#schedule();
  }

  #ready(channel: MuxChannel): void {
    if (channel.queued) return;
    channel.queued = true;
    this.#turn.push(channel);
    this.#schedule();
  }

  #sendCredit(channel: MuxChannel, bytes: number): void {
    const payload = new Uint8Array(4);
    new DataView(payload.buffer).setUint32(0, bytes, true);
    this.#sendControl(frameBytes(channel.id, CREDIT, payload));
  }

  #sendControl(frame: Uint8Array): void {
    if (this.#dead) return;
    if (this.#control.length >= CONTROL_FRAMES_MAX) return this.close(protocolError("the other side does not read"));
    this.#control.push(frame);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled || !this.#writable) return;
    this.#scheduled = true;
    // Everything that is said in this turn of the event loop goes out together.
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#pump();
    });
  }

  #pump(): void {
    if (this.#dead) return;
    this.#pumpControl();
    while (this.#writable) {
      const channel = this.#turn.shift();
      if (channel === undefined) break;
      channel.queued = false;
      if (channel.failure !== undefined || !channel.sendable) continue;
      this.#sendNext(channel);
      if (channel.sendable) this.#ready(channel);
    }
    this.#flushBatch();
  }

  #pumpControl(): void {
    if (this.#pongOwed) {
      this.#pongOwed = false;
      this.#control.push(frameBytes(0, PONG, NOTHING));
    }
    let done = 0;
    while (this.#writable && done < this.#control.length) {
      const frame = this.#control[done]!;
      if (!this.#room(frame.length)) break;
      this.#batch.set(frame, this.#batchLength);
      this.#batchLength += frame.length;
      done++;
    }
    if (done > 0) this.#control.splice(0, done);
  }

  #sendNext(channel: MuxChannel): void {
    const outgoing = channel.take();
    if (outgoing === undefined) {
      this.#room(HEADER_BYTES);
      if (channel.finished) this.#channels.delete(channel.id);
      // The end needs no credit, so it also goes when there was no room: the batch then waits in a new buffer.
      writeHeader(this.#batch, this.#batchLength, channel.id, END, 0);
      this.#batchLength += HEADER_BYTES;
      return;
    }
    const message = outgoing.bytes;
    const small = message.length <= SMALL_MESSAGE_BYTES;
    this.#room(HEADER_BYTES + (small ? message.length : 0));
    if (small) {
      this.#appendMessage(channel.id, message);
      sent(outgoing);
      return;
    }
    writeHeader(this.#batch, this.#batchLength, channel.id, DATA, message.length);
    this.#batchLength += HEADER_BYTES;
    // The header alone would be a TLS record and a system call of its own, so it takes the message's head along.
    const record = RECORD_BYTES - (this.#batchLength % RECORD_BYTES);
    const head = Math.min(message.length, record, BATCH_BYTES - this.#batchLength);
    this.#batch.set(message.subarray(0, head), this.#batchLength);
    this.#batchLength += head;
    this.#flushBatch();
    if (head === message.length || this.#write(message.subarray(head))) sent(outgoing);
    else this.#afterDrain.push(outgoing);
  }

  /** Makes room in the batch. False when that filled the transport; there is room all the same. */
  #room(bytes: number): boolean {
    if (this.#batchLength + bytes > BATCH_BYTES) this.#flushBatch();
    return this.#writable;
  }

  #flushBatch(): void {
    if (this.#batchLength === 0) return;
    const bytes = this.#batch.subarray(0, this.#batchLength);
    this.#batchLength = 0;
    // Not written out: the transport keeps the buffer, so the next batch needs another.
    if (!this.#write(bytes)) this.#batch = new Uint8Array(BATCH_BYTES);
  }

  #write(bytes: Uint8Array): boolean {
    this.#sent += bytes.length;
    const taken = this.#transport.write(bytes);
    if (!taken) this.#writable = false;
    return taken;
  }

  #drained(): void {
    if (this.#dead) return;
    this.#writable = true;
    for (const outgoing of this.#afterDrain.splice(0)) sent(outgoing);
    this.#pump();
  }

  // Ending

  /** Never rejects: the connection ends. */
  async #watch(): Promise<void> {
    const { clock } = this.#options;
    let silent = 0;
    try {
      while (!this.#dead) {
        await clock.sleep(PING_MS, this.#watchdog.signal);
        silent = this.#heard ? 0 : silent + 1;
        this.#heard = false;
        if (silent >= SILENT_PINGS_MAX) return this.#silence();
        if (silent > 0) this.#sendControl(frameBytes(0, PING, NOTHING));
      }
    } catch (error) {
      // The sleep ends early because the connection did. Without a clock nobody would notice its end.
      if (!this.#dead) this.#end(asError(error));
    }
  }

  #silence(): void {
    const seconds = (PING_MS * SILENT_PINGS_MAX) / 1000;
    this.#end(linkLost(this.label, new Error(`nothing heard for ${seconds} s`)));
  }

  #lost(error: Error | undefined): void {
    this.#die(linkLost(this.label, error));
  }

  #end(error: Error | undefined): void {
    // First the reason: a transport may report its end while it closes.
    this.#die(error);
    this.#transport.close();
  }

  #die(error: Error | undefined): void {
    if (this.#dead) return;
    this.#dead = true;
    this.#watchdog.abort();
    const reason = error ?? linkLost(this.label, undefined);
    for (const channel of this.#channels.values()) channel.settle(reason);
    this.#channels.clear();
    this.#turn = [];
    this.#control = [];
    // Their buffers are not for others: a transport that closes may be sending what it has.
    for (const outgoing of this.#afterDrain.splice(0)) outgoing.sent();
    this.#closed.resolve(error);
  }
}

const NOTHING = new Uint8Array(0);

function sent(outgoing: Outgoing): void {
  if (outgoing.isGiven) giveBackBuffer(outgoing.bytes);
  outgoing.sent();
}

/** The connection is gone; trying again may help. */
export function linkLost(label: string, cause: Error | undefined): SynclineError {
  return new SynclineError({
    code: "LINK_LOST",
    op: "connection",
    message: `the connection to ${label} was lost${cause === undefined ? "" : `: ${cause.message}`}`,
    retryable: true,
    cause,
  });
}
