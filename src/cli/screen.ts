/** Where output goes: standard output and standard error, with what is known about the terminal behind them. */
import { fstatSync, writeSync } from "node:fs";

/** Where the terminal does not tell its width. */
const COLUMNS_DEFAULT = 80;

export type Stream = {
  write(text: string): void;
  readonly isTty: boolean;
  /** Terminal width; 80 where unknown. */
  columns(): number;
  /** Why not all that was written is there, as a code of the system; undefined: it is, or nobody reads it. */
  readonly lost?: string | undefined;
};

export type Screen = {
  readonly out: Stream;
  readonly err: Stream;
  /** Paint functions are the identity when colours are off. */
  readonly paint: Paint;
};

export type Paint = Record<
  "bold" | "dim" | "red" | "green" | "yellow" | "blue" | "cyan",
  (text: string) => string
>;

const CODES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, blue: 34, cyan: 36 };

export function makePaint(colours: boolean): Paint {
  const style = (code: number) => (text: string) =>
    colours && text !== "" ? `\u001b[${code}m${text}\u001b[0m` : text;
  return {
    bold: style(CODES.bold),
    dim: style(CODES.dim),
    red: style(CODES.red),
    green: style(CODES.green),
    yellow: style(CODES.yellow),
    blue: style(CODES.blue),
    cyan: style(CODES.cyan),
  };
}

/** The process's own streams. Colours only on a terminal that has some, and never with NO_COLOR (no-color.org). */
export function processScreen(environment: Record<string, string | undefined>): Screen {
  const out = processStream(1);
  const err = processStream(2);
  const wanted = (environment["NO_COLOR"] ?? "") === "" && environment["TERM"] !== "dumb";
  return { out, err, paint: makePaint(wanted && out.isTty) };
}

/** Pause before a full pipe whose other end made it non-blocking is tried again. */
const FULL_PIPE_MS = 5;

/**
 * Files and pipes are written directly: the runtime's stream objects take longer to come up than a whole run on two
 * small directories.
 */
function processStream(fd: 1 | 2): Stream {
  if (!isTerminal(fd)) return plainStream(fd);
  const stream = fd === 1 ? process.stdout : process.stderr;
  // A terminal that was closed must not turn the end of a run into a crash.
  stream.on("error", () => undefined);
  return {
    write: (text) => {
      stream.write(text);
    },
    isTty: true,
    columns: () => stream.columns || COLUMNS_DEFAULT,
  };
}

function plainStream(fd: 1 | 2): Stream {
  let lost: string | undefined;
  return {
    write: (text) => {
      lost = writeAll(fd, text) ?? lost;
    },
    isTty: false,
    columns: () => COLUMNS_DEFAULT,
    get lost() {
      return lost;
    },
  };
}

function isTerminal(fd: number): boolean {
  try {
    // Most often that is all there is to ask, and loading what knows terminals takes several milliseconds.
    if (!fstatSync(fd).isCharacterDevice()) return false;
    return process.getBuiltinModule("node:tty").isatty(fd);
  } catch {
    // The descriptor is closed: nobody wants to see anything.
    return false;
  }
}

/** @returns why not all of it is written, where the disk is the reason: a log that cannot grow must end no hub and no agent */
function writeAll(fd: number, text: string): string | undefined {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(fd, bytes, at);
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : undefined;
      if (code === "EAGAIN") Bun.sleepSync(FULL_PIPE_MS);
      // The reader may go away at any time (`syncline log | head`), and so may a terminal: what nobody reads is dropped.
      else if (code === "EPIPE" || code === "EBADF" || code === "EIO") return undefined;
      else if (code === "ENOSPC" || code === "EDQUOT" || code === "EFBIG") return code;
      else throw error;
    }
  }
  return undefined;
}
