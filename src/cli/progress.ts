/**
 * One live line at the bottom of a terminal: what is going on, how far, how fast, how long still.
 *
 * Redraws are throttled, fit the terminal's width whatever it is at that moment, and are wiped before any other output
 * and at the end. On anything but a terminal nothing is drawn. Time comes from the caller's clock, so that tests need
 * no waiting.
 */
import { columnsOf, formatBytes, formatCount, formatSeconds, shortenPath } from "#cli/format.ts";
import type { Paint, Stream } from "#cli/screen.ts";

/** Shortest time between two redraws: 12 a second look smooth and cost nothing. */
const REDRAW_MS = 80;
/** The rate shown is that of the last seconds, not of the whole run, so that a stall is seen. */
const RATE_WINDOW_MS = 4000;
const RATE_SAMPLES_MAX = 64;
const BAR_COLUMNS_MAX = 24;
/** With less room for a bar and its percents the bar is left out. */
const BAR_ROOM_MIN = 12;
/** Columns between two figures. */
const GAP = 2;

export type ProgressState = {
  /** What is being done: "scanning", "transferring". */
  readonly label: string;
  readonly done: number;
  readonly total: number | undefined;
  readonly bytes: number;
  readonly bytesTotal: number | undefined;
  readonly path?: string | undefined;
};

export class Progress {
  readonly #stream: Stream;
  readonly #paint: Paint;
  readonly #nowMs: () => number;
  #samples: { atMs: number; bytes: number; done: number }[] = [];
  #drawnMs = Number.NEGATIVE_INFINITY;
  #visible = false;
  #label = "";

  constructor(stream: Stream, paint: Paint, nowMs: () => number) {
    this.#stream = stream;
    this.#paint = paint;
    this.#nowMs = nowMs;
  }

  /** Shows a new state, unless the last drawing is too recent. */
  update(state: ProgressState): void {
    if (!this.#stream.isTty) return;
    const nowMs = this.#nowMs();
    if (state.label !== this.#label) {
      this.#samples = [];
      this.#label = state.label;
      this.#drawnMs = Number.NEGATIVE_INFINITY;
    }
    if (nowMs - this.#drawnMs < REDRAW_MS) return;
    this.#sample(nowMs, state);
    this.#drawnMs = nowMs;
    this.#draw(progressLine(state, this.#rates(), this.#stream.columns() - 1, this.#paint));
  }

  /** Shows a line without figures ("watching"), at once. */
  status(text: string): void {
    if (!this.#stream.isTty) return;
    this.#label = "";
    this.#draw(cut(text, this.#stream.columns() - 1));
  }

  /** Wipes the line; call before writing anything else. */
  clear(): void {
    if (this.#visible) this.#stream.write("\r\u001b[2K");
    this.#visible = false;
    this.#drawnMs = Number.NEGATIVE_INFINITY;
  }

  #draw(line: string): void {
    this.#stream.write(`\r\u001b[2K${line}`);
    this.#visible = true;
  }

  #sample(nowMs: number, state: ProgressState): void {
    this.#samples.push({ atMs: nowMs, bytes: state.bytes, done: state.done });
    while (
      this.#samples.length > 2 &&
      (nowMs - this.#samples[0]!.atMs > RATE_WINDOW_MS || this.#samples.length > RATE_SAMPLES_MAX)
    ) {
      this.#samples.shift();
    }
  }

  #rates(): Rates {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined || last.atMs <= first.atMs) return { bytes: 0, items: 0 };
    const seconds = (last.atMs - first.atMs) / 1000;
    return {
      bytes: Math.max(0, last.bytes - first.bytes) / seconds,
      items: Math.max(0, last.done - first.done) / seconds,
    };
  }
}

/** Per second. */
type Rates = { bytes: number; items: number };

/** How much is done, 0..1, by bytes when they are known, otherwise by items. */
export function fractionOf(state: ProgressState): number | undefined {
  const byBytes = state.bytesTotal !== undefined && state.bytesTotal > 0;
  const part = byBytes ? state.bytes : state.done;
  const whole = byBytes ? state.bytesTotal! : state.total;
  return whole === undefined || whole <= 0 ? undefined : Math.min(1, part / whole);
}

/** One line of at most `columns` columns. Where they are few, what matters least is left out first. */
export function progressLine(state: ProgressState, rates: Rates, columns: number, paint: Paint): string {
  const fraction = fractionOf(state);
  const count = formatCount(state.done);
  const items = state.total === undefined ? count : `${count}/${formatCount(state.total)}`;
  const sized = state.bytesTotal !== undefined && state.bytesTotal > 0;
  const counted = sized && state.total === undefined ? [] : [items];
  const bytes = sized ? `${formatBytes(state.bytes)}/${formatBytes(state.bytesTotal!)}` : formatBytes(state.bytes);
  const rate = rates.bytes >= 1 ? [`${formatBytes(rates.bytes)}/s`] : [];
  const eta = secondsLeft(state, rates);
  const left = eta === undefined ? [] : [`${formatSeconds(eta)} left`];
  const speed = [...rate, ...left];
  const amount = sized || state.bytes > 0 ? [bytes] : [];
  const head = `${state.label}  `;
  const percent = fraction === undefined ? "" : `${String(Math.floor(fraction * 100)).padStart(3)}%`;
  const tails = [[...counted, ...amount, ...speed], [...amount, ...speed], speed, left, []].map((one) => one.join("  "));
  const least = columnsOf(head) + (percent === "" ? 0 : percent.length + GAP);
  const tail = tails.find((one) => least + columnsOf(one) <= columns) ?? "";
  const room = columns - columnsOf(head) - columnsOf(tail) - GAP;
  if (fraction === undefined || room < BAR_ROOM_MIN) {
    return withPath(`${head}${[percent, tail].filter((part) => part !== "").join("  ")}`, state.path, columns, paint);
  }
  const bar = drawBar(fraction, Math.min(BAR_COLUMNS_MAX, room - percent.length - 1), paint);
  return withPath(`${head}${bar.text} ${percent}  ${tail}`.trimEnd(), state.path, columns, paint);
}

function secondsLeft(state: ProgressState, rates: Rates): number | undefined {
  if (state.bytesTotal !== undefined && state.bytesTotal > 0) {
    return rates.bytes >= 1 ? (state.bytesTotal - state.bytes) / rates.bytes : undefined;
  }
  if (state.total === undefined || rates.items <= 0) return undefined;
  return (state.total - state.done) / rates.items;
}

/** Eighths of a cell give the bar a smooth end. */
function drawBar(fraction: number, columns: number, paint: Paint): { text: string } {
  const eighths = Math.floor(fraction * columns * 8);
  const full = Math.floor(eighths / 8);
  const rest = eighths % 8;
  const filled = "█".repeat(full) + (rest === 0 ? "" : String.fromCharCode(0x2590 - rest));
  return {
    text: paint.cyan(filled) + paint.dim("·".repeat(Math.max(0, columns - full - (rest === 0 ? 0 : 1)))),
  };
}

function withPath(line: string, path: string | undefined, columns: number, paint: Paint): string {
  const room = columns - columnsOf(line) - 2;
  if (path === undefined || room < 8) return cut(line, columns);
  return `${line}  ${paint.dim(shortenPath(path, room))}`;
}

/** A line that may not wrap; styled text is only cut when it is plain, because it was measured to fit. */
function cut(line: string, columns: number): string {
  if (columnsOf(line) <= columns) return line;
  const plain = Bun.stripANSI(line);
  let width = 0;
  let text = "";
  for (const char of plain) {
    width += columnsOf(char);
    if (width > columns) break;
    text += char;
  }
  return text;
}
