/**
 * The requests of SFTP version 3 over any stream of bytes, as a client: many are on their way at once, each answer finds its
 * request by number. Whatever makes no sense ends the channel, and so does a server that stands still.
 */
import { SynclineError } from "#model/error.ts";
import { printablePath } from "#model/path.ts";
import type { Transport } from "#platform/net/transport.ts";
import { ANSWER, Fields, PacketSplitter, PacketWriter, REQUEST, STATUS } from "#platform/net/sftp-wire.ts";

/** Requests without an answer at a time; more wait for their turn. */
export const REQUESTS_MAX = 64;
/** While there are such, one is answered within this time. */
export const STALL_MS_MAX = 60_000;
const VERSION = 3;
/** Pairs of extensions that a server may name. */
const EXTENSIONS_MAX = 256;
const TEXT_BYTES_MAX = 4_096;
const SHOWN_CHARS_MAX = 300;
/** Where a packet has its number, behind length and type. */
const ID_AT = 5;

export type Answer = { readonly type: number; readonly fields: Fields };
export type RequestName = keyof typeof REQUEST;

/** A request that was not done. */
export class SftpRefusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.name = "SftpRefusal";
    this.status = status;
  }
}

type Waiting = { readonly resolve: (answer: Answer) => void; readonly reject: (error: unknown) => void };

export class SftpChannel {
  readonly #transport: Transport;
  readonly #splitter = new PacketSplitter();
  readonly #waiting = new Map<number, Waiting>();
  readonly #turns: (() => void)[] = [];
  /** Requests that the transport did not take yet: REQUESTS_MAX at most. */
  readonly #unsent: Uint8Array[] = [];
  #isFull = false;
  readonly #version = Promise.withResolvers<void>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #nextId = 0;
  #isGreeted = false;
  #fault: unknown;
  /** What the server can do beside the protocol, with the versions of it. */
  readonly extensions = new Map<string, string>();

  /** Owns the transport from here. */
  constructor(transport: Transport) {
    this.#transport = transport;
    this.#version.promise.catch(() => undefined);
    transport.listen({
      onData: (bytes) => this.#take(bytes),
      onDrain: () => {
        this.#isFull = false;
        while (!this.#isFull && this.#unsent.length > 0) this.#send(this.#unsent.shift()!);
      },
      onClose: (error) => this.destroy(error === undefined ? this.#lost("it has ended the connection") : this.#lost(error.message)),
    });
  }

  get isClosed(): boolean {
    return this.#fault !== undefined;
  }

  /** Says hello. @throws {SynclineError} LINK_LOST, PROTOCOL, VERSION */
  async greet(): Promise<void> {
    this.#send(new PacketWriter(REQUEST.init, undefined).uint32(VERSION).finish());
    this.#watch();
    await this.#version.promise;
  }

  /**
   * Sends a request and waits for its answer, which may say no. What `fill` writes is copied before this returns.
   * @throws {SynclineError} LINK_LOST, PROTOCOL
   */
  async ask(name: RequestName, fill: (packet: PacketWriter) => PacketWriter, room = 256): Promise<Answer> {
    const packet = fill(new PacketWriter(REQUEST[name], 0, room));
    while (this.#waiting.size >= REQUESTS_MAX && this.#fault === undefined) {
      await new Promise<void>((resolve) => this.#turns.push(resolve));
    }
    if (this.#fault !== undefined) throw this.#fault;
    const id = this.#freeId();
    packet.setUint32(ID_AT, id);
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#send(packet.finish());
      this.#watch();
    });
  }

  #send(packet: Uint8Array): void {
    if (this.#isFull) this.#unsent.push(packet);
    else this.#isFull = !this.#transport.write(packet);
  }

  /**
   * As ask(), for one kind of answer.
   * @throws {SftpRefusal} with the status
   */
  async expect(wanted: number, name: RequestName, fill: (packet: PacketWriter) => PacketWriter, room?: number): Promise<Fields> {
    const { type, fields } = await this.ask(name, fill, room);
    try {
      if (type === ANSWER.status) {
        const status = fields.uint32();
        if (wanted === ANSWER.status && status === STATUS.ok) return fields;
        throw new SftpRefusal(status, statusText(status, fields));
      }
    } catch (error) {
      throw error instanceof RangeError ? this.#senseless("a status that is cut off") : error;
    }
    if (type === wanted) return fields;
    throw this.#senseless(`an answer of type ${type} to ${name}`);
  }

  /** Reads fields of an answer. @throws {SynclineError} PROTOCOL when they are not there; the channel has ended then */
  read<T>(fields: Fields, reading: (fields: Fields) => T): T {
    try {
      return reading(fields);
    } catch (error) {
      if (error instanceof RangeError) throw this.#senseless("an answer that is cut off, or says what cannot be");
      throw error;
    }
  }

  #freeId(): number {
    do this.#nextId = (this.#nextId + 1) >>> 0;
    while (this.#waiting.has(this.#nextId));
    return this.#nextId;
  }

  #take(bytes: Uint8Array): void {
    try {
      this.#splitter.push(bytes, (packet) => this.#packet(packet));
    } catch (error) {
      this.destroy(error instanceof RangeError ? this.#senseless("a packet that is cut off") : error);
    }
  }

  #packet(packet: Uint8Array): void {
    if (this.#fault !== undefined) return;
    const fields = new Fields(packet, 1);
    if (!this.#isGreeted) return this.#hello(packet[0]!, fields);
    const id = fields.uint32();
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) throw this.#senseless("an answer that nobody asked for");
    this.#waiting.delete(id);
    this.#turns.shift()?.();
    this.#watch();
    // The packet is a view of the transport's buffer, which is not there any more when the answer is read.
    const at = fields.position;
    waiting.resolve({ type: packet[0]!, fields: new Fields(packet.slice(), at) });
  }

  #hello(type: number, fields: Fields): void {
    const version = type === ANSWER.version ? fields.uint32() : undefined;
    if (version !== VERSION) {
      const message = `the server speaks no SFTP of version ${VERSION}${version === undefined ? "" : ` but ${version}`}`;
      throw new SynclineError({ code: version === undefined ? "PROTOCOL" : "VERSION", op: "talk SFTP", message });
    }
    while (!fields.isAtEnd) {
      if (this.extensions.size === EXTENSIONS_MAX) throw this.#senseless(`more than ${EXTENSIONS_MAX} extensions`);
      const name = Buffer.from(fields.string(TEXT_BYTES_MAX)).toString("latin1");
      this.extensions.set(name, Buffer.from(fields.string(TEXT_BYTES_MAX)).toString("latin1"));
    }
    this.#isGreeted = true;
    this.#watch();
    this.#version.resolve();
  }

  /** Anew with each packet in either direction, while something is waited for. */
  #watch(): void {
    clearTimeout(this.#timer);
    if (this.#fault !== undefined || (this.#isGreeted && this.#waiting.size === 0)) return;
    this.#timer = setTimeout(() => this.destroy(this.#lost("it does not answer")), STALL_MS_MAX);
  }

  #lost(why: string): SynclineError {
    return new SynclineError({
      code: "LINK_LOST",
      op: "talk SFTP",
      message: `the connection with ${this.#transport.label} failed: ${why}`,
      retryable: true,
    });
  }

  #senseless(what: string): SynclineError {
    const message = `${this.#transport.label} makes no sense: ${what}`;
    const error = new SynclineError({ code: "PROTOCOL", op: "talk SFTP", message });
    this.destroy(error);
    return error;
  }

  /** Ends it at once; who waits is told why. */
  destroy(fault: unknown): void {
    if (this.#fault !== undefined) return;
    this.#fault = fault;
    clearTimeout(this.#timer);
    this.#version.reject(fault);
    for (const { reject } of this.#waiting.values()) reject(fault);
    this.#waiting.clear();
    for (const go of this.#turns.splice(0)) go();
    this.#transport.close();
  }
}

const STATUS_WORDS: Readonly<Record<number, string>> = {
  [STATUS.eof]: "end of file",
  [STATUS.noSuchFile]: "no such file",
  [STATUS.permissionDenied]: "permission denied",
  [STATUS.failure]: "failure",
  [STATUS.badMessage]: "bad message",
  [STATUS.unsupported]: "not supported",
};

function statusText(status: number, fields: Fields): string {
  const said = fields.isAtEnd ? "" : Buffer.from(fields.string(TEXT_BYTES_MAX)).toString("utf8");
  return printablePath(said.slice(0, SHOWN_CHARS_MAX)) || (STATUS_WORDS[status] ?? `status ${status}`);
}
