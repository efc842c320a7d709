/**
 * Sizes and times as people write them, on the command line and in files.
 *
 * - bytes: `4096`, `10K`, `10KiB`, `1.5GiB` (powers of 1024), `10kB`, `10MB` (powers of 1000)
 * - duration: `500ms`, `90s`, `5m`, `1h30m`, `2d`, `4w`; a bare number is seconds
 */
const UNITS: Record<string, number> = {
  "": 1,
  b: 1,
  k: 2 ** 10,
  kib: 2 ** 10,
  m: 2 ** 20,
  mib: 2 ** 20,
  g: 2 ** 30,
  gib: 2 ** 30,
  t: 2 ** 40,
  tib: 2 ** 40,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
};

const DURATIONS_MS: Record<string, number> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};

/** A whole number of bytes, 0..2^53-1; undefined when it is none. */
export function readBytes(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text.trim());
  const unit = match === null ? undefined : UNITS[match[2]!.toLowerCase()];
  const bytes = unit === undefined ? Number.NaN : Math.round(Number(match![1]) * unit);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** Whole milliseconds, 0..2^53-1; undefined when it is none. */
export function readDurationMs(text: string): number | undefined {
  const clean = text.trim().toLowerCase();
  let ms = Number.NaN;
  if (/^\d+(\.\d+)?$/.test(clean)) ms = Number(clean) * 1000;
  else if (/^(\d+(\.\d+)?(ms|s|m|h|d|w))+$/.test(clean)) {
    ms = 0;
    for (const [, count, unit] of clean.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d|w)/g))
      ms += Number(count) * DURATIONS_MS[unit!]!;
  }
  ms = Math.round(ms);
  return Number.isSafeInteger(ms) ? ms : undefined;
}
