/** The settings of a space, as people write and read them. */
import type { SpaceJson } from "#gateway/api/shapes.ts";
import { printablePath } from "#model/path.ts";
import type { Context } from "#cli/context.ts";
import { formatBytes, formatCount, formatSpan, plural } from "#cli/format.ts";
import { parseBytes, parseDuration, usage } from "#cli/values.ts";

export type SettingsChange = SpaceJson["settings"];

/** Retention has no end that timers would mind. */
const AGE_MS_MAX = Number.MAX_SAFE_INTEGER;

/** What the options say of settings; undefined where they say nothing. @throws {SynclineError} USAGE */
export function settingsOf({ parsed }: Context): SettingsChange | undefined {
  const { quota, entries, ignore, "keep-versions": versions, "keep-for": age } = parsed.given;
  const change: SettingsChange = {};
  if (quota !== undefined) change.quotaBytes = quota === "none" ? null : parseBytes(quota);
  if (entries !== undefined) change.quotaEntries = entries === "none" ? null : countOf("entries", entries, "none");
  if (ignore !== undefined) change.ignore = ignore.length === 1 && ignore[0] === "none" ? [] : [...ignore];
  if (versions !== undefined || age !== undefined) {
    change.retention = {
      ...(versions === undefined ? {} : { versions: versions === "all" ? null : countOf("keep-versions", versions, "all") }),
      ...(age === undefined ? {} : { ageSeconds: age === "all" ? null : Math.ceil(parseDuration(age, AGE_MS_MAX) / 1000) }),
    };
  }
  return Object.keys(change).length === 0 ? undefined : change;
}

function countOf(option: string, text: string, unbounded: string): number {
  const count = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(count)) return count;
  throw usage(`--${option}: "${text}" is no count`, `write a whole number, or ${unbounded}`);
}

/** What a space may take and what it keeps, in columns. */
export function settingRows({ settings, usage: { bytes, entries }, created, sequence, lineage }: SpaceJson): string[][] {
  const { quotaBytes, quotaEntries, retention, ignore = [] } = settings;
  const age = retention?.ageSeconds;
  const versions = retention?.versions;
  const count = typeof versions === "number" ? `the last ${plural(versions, "old version")} of each path` : "all old versions";
  const kept = typeof age === "number" ? `${count}, each for ${formatSpan(age * 1000)}` : count;
  return [
    ["files", `${formatBytes(bytes)} of ${typeof quotaBytes === "number" ? formatBytes(quotaBytes) : "any size"}`],
    ["entries", `${formatCount(entries)} of ${typeof quotaEntries === "number" ? formatCount(quotaEntries) : "any number"}`],
    ["keeps", kept],
    ["ignores", ignore.length === 0 ? "nothing" : ignore.map(printablePath).join("  ")],
    ["sequence", String(sequence)],
    ["lineage", lineage],
    ["made", created],
  ];
}
