/** Where output goes: standard output and standard error, with what is known about the terminal behind them. */

export type Stream = {
  write(text: string): void;
  readonly isTty: boolean;
  /** Terminal width; 80 where unknown. */
  columns(): number;
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
  const out = processStream(process.stdout);
  const err = processStream(process.stderr);
  const wanted = (environment["NO_COLOR"] ?? "") === "" && environment["TERM"] !== "dumb";
  return { out, err, paint: makePaint(wanted && out.isTty) };
}

function processStream(stream: NodeJS.WriteStream): Stream {
  // The reader of a pipe may go away at any time (`syncline log | head`): what nobody reads is dropped.
  stream.on("error", () => undefined);
  return {
    write: (text) => {
      try {
        stream.write(text);
      } catch (error) {
        if (!(error instanceof Error && "code" in error && error.code === "EPIPE")) throw error;
      }
    },
    isTty: stream.isTTY === true,
    columns: () => stream.columns || 80,
  };
}
