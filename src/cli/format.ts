/** Numbers, times and columns as a person reads them. Pure. */
import { printablePath } from "#model/path.ts";

/** "0 B", "999 B", "12.3 KiB", "1.0 GiB": three digits at most before the unit. */
export function formatBytes(bytes: number): string {
  if (bytes < 1000) return `${Math.round(bytes)} B`;
  const units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = bytes / 1024;
  let at = 0;
  while (value >= 999.5 && at < units.length - 1) {
    value /= 1024;
    at++;
  }
  return `${value < 99.95 ? value.toFixed(1) : Math.round(value)} ${units[at]}`;
}

/** "850 ms", "4.2 s", "3m 05s", "2h 07m". Never negative. */
export function formatSeconds(seconds: number): string {
  const safe = Math.max(0, seconds);
  if (safe < 0.9995) return `${Math.round(safe * 1000)} ms`;
  if (safe < 59.95) return `${safe.toFixed(1)} s`;
  const whole = Math.round(safe);
  const two = (count: number): string => String(count).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${two(whole % 60)}s`;
  return `${Math.floor(whole / 3600)}h ${two(Math.floor((whole % 3600) / 60))}m`;
}

/** "12,345". */
export function formatCount(count: number): string {
  return String(Math.round(count)).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** "1 file", "2 files", "3 entries" with an irregular plural given. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

/** "2026-11-20 23:59:07.120 UTC" of a file time. */
export function formatFileTime(mtimeNs: bigint): string {
  const date = new Date(Number(mtimeNs / 1_000_000n));
  if (Number.isNaN(date.getTime())) return `${mtimeNs} ns`;
  return date.toISOString().replace("T", " ").replace("Z", " UTC");
}

/** "2026-11-20 23:59:07 UTC" of a moment. */
export function formatMoment(ms: number): string {
  return new Date(ms)
    .toISOString()
    .replace("T", " ")
    .replace(/\.\d+Z$/, " UTC");
}

/** "now", "3 s", "5 min", "2 h", "12 days": how long something is, or is ago, in one number. */
export function formatSpan(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 1) return "now";
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  if (seconds < 59.5 * 60) return `${Math.round(seconds / 60)} min`;
  if (seconds < 47.5 * 3600) return `${Math.round(seconds / 3600)} h`;
  return plural(seconds / 86_400, "day");
}

/** "just now", "3 s ago". Of a moment to come "in 3 days". */
export function formatAgo(ms: number): string {
  const span = formatSpan(Math.abs(ms));
  if (span === "now") return "just now";
  return ms < 0 ? `in ${span}` : `${span} ago`;
}

/** Cuts the middle out of a path so that it takes `width` columns at most; the file name survives longest. */
export function shortenPath(path: string, width: number): string {
  const text = printablePath(path);
  if (columnsOf(text) <= width) return text;
  if (width < 2) return width < 1 ? "" : "…";
  const chars = [...text];
  let tail = "";
  let left = width - 1;
  for (let at = chars.length - 1; at >= 0; at--) {
    const columns = columnsOf(chars[at]!);
    if (columns > left) break;
    left -= columns;
    tail = chars[at]! + tail;
  }
  return `…${tail}`;
}

/** Terminal columns a text takes. */
export function columnsOf(text: string): number {
  return Bun.stringWidth(text);
}

/** Pads to `width` columns on the right; longer text is left as it is. */
export function padEnd(text: string, width: number): string {
  return text + " ".repeat(Math.max(0, width - columnsOf(text)));
}

export function padStart(text: string, width: number): string {
  return " ".repeat(Math.max(0, width - columnsOf(text))) + text;
}

/** How far what is wrapped stands in, beyond where its line begins. */
const HANGING_INDENT = 2;

/**
 * A line broken at spaces so that no piece is wider than `columns`, where its words allow it. What is continued stands
 * under the last column of a table, or a little further in than its line. A command of ours, from "syncline" to the end
 * of the line, stays whole: the terminal wraps it, and it can be copied.
 */
export function wrapLine(line: string, columns: number): string[] {
  if (columnsOf(line) <= columns) return [line];
  const [, begin, text, command] = /^( *)(.*?)((?:\u001b\[\d+m|\b)syncline [a-z].*)?$/.exec(line)!;
  const lastGap = /^.*\S {2,}/.exec(Bun.stripANSI(begin! + text!))?.[0].length ?? 0;
  const indent = lastGap > 0 && lastGap <= columns / 2 ? lastGap : begin!.length + HANGING_INDENT;
  const pieces: string[] = [];
  let piece = begin!;
  const add = (word: string): void => {
    if (piece.trim() !== "" && columnsOf(piece) + columnsOf(word.trimEnd()) > columns) {
      pieces.push(piece.trimEnd());
      piece = " ".repeat(indent);
    }
    piece += word;
  };
  for (const word of text!.match(/\S+ */g) ?? []) add(word);
  if (command !== undefined) add(command);
  return [...pieces, piece];
}

/** Lines of a table, columns two spaces apart; the last column is not padded. */
export function tableLines(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, columnsOf(cell));
  }
  return rows.map((row) =>
    row
      .map((cell, at) => (at === row.length - 1 ? cell : padEnd(cell, widths[at]!)))
      .join("  ")
      .trimEnd(),
  );
}

/** A word for a shell line: quoted only where it must be. */
export function shellWord(word: string): string {
  if (word !== "" && /^[\w@%+=:,./~-]+$/.test(word) && !word.startsWith("~")) return word;
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
