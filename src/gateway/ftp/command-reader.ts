/**
 * The bytes of a control connection as commands: split at line feeds wherever they are cut, Telnet sequences taken out,
 * lines and their number bounded. Knows nothing of what commands mean but for ABOR and STAT, which do not wait their turn.
 */
import { decodeName } from "#model/path.ts";

/** Bytes of a line, its end included: a path of the greatest length fits behind any verb. */
export const LINE_BYTES_MAX = 4096 + 256;
/** Commands that wait; while there are so many nothing more should be read. */
export const COMMANDS_WAITING_MAX = 64;

export type Command = {
  /** In capitals; "" for an empty line. */
  readonly verb: string;
  /** What follows the first space, as it was sent; bytes that are no UTF-8 are kept (model/path.ts). */
  readonly argument: string;
};

/** A line that is longer than any command. */
export const TOO_LONG = "too long";

const LF = 10;
const CR = 13;
const SPACE = 32;
const IAC = 255;
/** WILL, WONT, DO, DONT are followed by an option; the other commands stand alone. */
const WITH_OPTION_FIRST = 251;
/** Sent in clear behind an urgent IAC, which the system takes out of the stream. */
const DATA_MARK = 242;

export class CommandReader {
  readonly #waiting: (Command | typeof TOO_LONG)[] = [];
  #line: number[] = [];
  /** What of a Telnet sequence has come: nothing, IAC, or IAC and a verb that takes an option. */
  #telnet: "none" | "command" | "option" = "none";
  #isSkipping = false;

  /** Whether no more should be read for now. */
  get isFull(): boolean {
    return this.#waiting.length >= COMMANDS_WAITING_MAX;
  }

  push(bytes: Uint8Array): void {
    for (const byte of bytes) this.#take(byte);
    // ABOR is sent as urgent data by some, and the system takes the last of it out of the stream: the line feed.
    if (this.#line.length === 5 && this.#line[4] === CR && verbOf(this.#line) === "ABOR") this.#end();
  }

  /** The next command; undefined: none is complete. */
  next(): Command | typeof TOO_LONG | undefined {
    return this.#waiting.shift();
  }

  /** Takes out the first command that does not wait for a transfer to end. */
  urgent(): "ABOR" | "STAT" | undefined {
    const at = this.#waiting.findIndex((one) => one !== TOO_LONG && isUrgent(one));
    return at === -1 ? undefined : ((this.#waiting.splice(at, 1)[0] as Command).verb as "ABOR" | "STAT");
  }

  /** Forgets what was sent before the connection was secured. */
  clear(): void {
    this.#waiting.length = 0;
    this.#line = [];
    this.#telnet = "none";
    this.#isSkipping = false;
  }

  #take(byte: number): void {
    if (this.#telnet === "option") {
      this.#telnet = "none";
      return;
    }
    if (this.#telnet === "command") {
      this.#telnet = byte >= WITH_OPTION_FIRST && byte < IAC ? "option" : "none";
      if (byte !== IAC) return;
    } else if (byte === IAC) {
      this.#telnet = "command";
      return;
    }
    if (byte === DATA_MARK && this.#line.length === 0) return;
    if (byte === LF) this.#end();
    else if (!this.#isSkipping) {
      if (this.#line.length < LINE_BYTES_MAX) this.#line.push(byte);
      else this.#isSkipping = true;
    }
  }

  #end(): void {
    const line = this.#line;
    const isTooLong = this.#isSkipping;
    this.#line = [];
    this.#isSkipping = false;
    if (isTooLong) {
      this.#waiting.push(TOO_LONG);
      return;
    }
    if (line.at(-1) === CR) line.pop();
    // What is left of a line that was taken for complete without its end.
    if (line.length > 0) this.#waiting.push(commandOf(line));
  }
}

function isUrgent({ verb, argument }: Command): boolean {
  return verb === "ABOR" || (verb === "STAT" && argument === "");
}

function verbOf(line: readonly number[]): string {
  let verb = "";
  for (const byte of line) {
    if (byte === SPACE || byte === CR) break;
    verb += String.fromCharCode(byte);
  }
  return verb.toUpperCase();
}

function commandOf(line: readonly number[]): Command {
  const verb = verbOf(line);
  const argument = Uint8Array.from(line.slice(verb.length + 1));
  return { verb, argument: decodeName(argument) };
}
