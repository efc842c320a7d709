/** A link as a person writes it: ROOT=SPACE[:PREFIX][,KEY=VALUE...]; and as it is shown. */
import { resolve } from "node:path";
import { SynclineError } from "#model/error.ts";
import { printablePath } from "#model/path.ts";
import { parseChoice, parseDuration, parseRate, usage } from "#cli/values.ts";
import { formatBytes } from "#cli/format.ts";
import { DECLARED_LINK, type DeclaredLink, LINK_SETTINGS, type LinkSettings, SCRUB_EVERY_MS_MAX, checked } from "#hub/agents/link.ts";

const OPTION = /,(mode|from|settle|conflict|bwlimit|scrub|ignore|window|priority|apply|keep|install)=([^,]*)$/;
const FORM = "write ROOT=SPACE[:PREFIX][,mode=…,settle=…], like /srv/site=demo:site,settle=immediate";
const SETTING_KEYS = [
  "mode", "from", "settle", "conflict", "bwlimit", "scrub", "ignore", "window", "priority", "apply", "keep", "install",
];
const CHANGE_KEYS = [...SETTING_KEYS, "root", "space", "prefix", "enabled"];

/**
 * Options are taken off the end, one by one, and SPACE is what follows the last "=" before them: a root may hold "=" and
 * "," itself.
 * @param option what messages call it
 * @throws {SynclineError} USAGE
 */
export function parseLink(text: string, option = "--link"): DeclaredLink {
  const pairs: [string, string][] = [];
  let rest = text;
  for (let match = OPTION.exec(rest); match !== null; match = OPTION.exec(rest)) {
    const [whole, key, value] = match as unknown as [string, string, string];
    rest = rest.slice(0, -whole.length);
    pairs.unshift([key, value]);
  }
  const word = /,([a-z]+)=[^,=/]*$/.exec(rest)?.[1];
  if (word !== undefined) {
    throw usage(`${option}: unknown option "${word}"`, `there are ${SETTING_KEYS.join(", ")}`);
  }
  const equals = rest.lastIndexOf("=");
  if (equals <= 0) throw usage(`${option}: "${text}" does not say which space`, FORM);
  const [space = "", ...prefix] = rest.slice(equals + 1).split(":");
  try {
    return checked(
      DECLARED_LINK,
      {
        root: resolve(rest.slice(0, equals)),
        space,
        prefix: trimmed(prefix.join(":")),
        settings: checked(LINK_SETTINGS, settingsOf(pairs, option), "settings"),
      },
      option,
    );
  } catch (error) {
    throw explained(error, option);
  }
}

const trimmed = (prefix: string): string => prefix.replace(/^\/+|\/+$/g, "");

function explained(error: unknown, option: string): unknown {
  if (!(error instanceof SynclineError)) return error;
  const message = error.message.startsWith(`${option}: `) ? error.message : `${option}: ${error.message}`;
  return usage(message, error.hint ?? FORM);
}

/** Only what is named; nothing is checked but that it is named once. */
function settingsOf(pairs: readonly (readonly [string, string])[], option: string): Record<string, unknown> {
  const settings: Record<string, unknown> = {};
  for (const [key, value] of pairs) {
    if (key === "ignore" || key === "window" || key === "install") {
      const name = key === "window" ? "windows" : key;
      const before = (settings[name] ?? []) as string[];
      settings[name] = value === "" ? before : [...before, value];
      continue;
    }
    const window = key === "bwlimit" ? /^(\S+) (.+)$/.exec(value.trim()) : null;
    if (window !== null) {
      const one = { window: window[2]!, bytesPerSecond: rateOf(window[1]!) };
      settings["rates"] = [...((settings["rates"] ?? []) as unknown[]), one];
      continue;
    }
    const name = NAMES[key] ?? key;
    if (name in settings) throw usage(`${option}: ${key} is given twice`);
    settings[name] = valueOf(key, value, option);
    // Nothing takes those of single hours away, too.
    if (key === "bwlimit" && value === "") settings["rates"] ??= [];
  }
  return settings;
}

/** What a key is called among the settings, where it is called something else. */
const NAMES: Readonly<Record<string, string>> = { bwlimit: "bytesPerSecond", scrub: "scrubEveryMs", keep: "keepReleases" };

function valueOf(key: string, text: string, option: string): unknown {
  switch (key) {
    case "bwlimit":
      return rateOf(text);
    case "scrub":
      return text === "" ? null : parseDuration(text, SCRUB_EVERY_MS_MAX);
    case "priority":
    case "keep":
      return numberOf(key, text, option);
    default:
      return text;
  }
}

const rateOf = (text: string): number | null => (text === "" || text === "none" ? null : parseRate(text));

function numberOf(key: string, text: string, option: string): number {
  if (/^-?\d{1,6}$/.test(text)) return Number(text);
  throw usage(`${option}: ${key}: "${text}" is no whole number`);
}

export type LinkChange = {
  root?: string;
  space?: string;
  prefix?: string;
  enabled?: boolean;
  settings?: Partial<LinkSettings>;
};

/** "KEY=VALUE" words of `syncline link set`. @throws {SynclineError} USAGE */
export function parseLinkChange(words: readonly string[]): LinkChange {
  const change: Record<string, unknown> = {};
  const pairs: [string, string][] = [];
  for (const word of words) {
    const equals = word.indexOf("=");
    if (equals < 0) throw usage(`"${word}" is no KEY=VALUE`, `keys: ${CHANGE_KEYS.join(", ")}`);
    const key = parseChoice(word.slice(0, equals), CHANGE_KEYS);
    const value = word.slice(equals + 1);
    if (SETTING_KEYS.includes(key)) {
      pairs.push([key, value]);
      continue;
    }
    if (key in change) throw usage(`${key} is given twice`);
    change[key] = key === "enabled" ? parseChoice(value, ["yes", "no"]) === "yes" : key === "prefix" ? trimmed(value) : value;
  }
  const given = settingsOf(pairs, "link");
  try {
    const all = checked(LINK_SETTINGS, given, "link") as Record<string, unknown>;
    const settings = Object.fromEntries(Object.keys(given).map((name) => [name, all[name]]));
    return { ...change, ...(pairs.length === 0 ? {} : { settings }) };
  } catch (error) {
    throw explained(error, "link");
  }
}

/** As it may be written: "30d", "90m". */
function everyText(ms: number): string {
  const units = [["d", 86_400_000], ["h", 3_600_000], ["m", 60_000], ["s", 1000]] as const;
  const [unit, unitMs] = units.find(([, each]) => ms % each === 0) ?? (["ms", 1] as const);
  return `${ms / unitMs}${unit}`;
}

/** "/srv/site = demo:site". */
export function linkPlace({ root, space, prefix }: { root: string; space: string; prefix: string }): string {
  return `${printablePath(root)} = ${space}${prefix === "" ? "" : `:${printablePath(prefix)}`}`;
}

/** What is not as it is unless said otherwise: "mode=one-way-safe, from=space". */
export function settingWords(settings: LinkSettings): string[] {
  const { mode, from, settle, conflict, ignore, windows, bytesPerSecond, rates, scrubEveryMs } = settings;
  const { priority, apply, keepReleases, install } = settings;
  const usual = LINK_SETTINGS.parse({});
  const words = Object.entries({ mode, from, settle, conflict, priority, apply })
    .filter(([key, value]) => value !== usual[key as "mode"])
    .map(([key, value]) => `${key}=${value}`);
  if (apply === "release") words.push(`keep=${keepReleases}`);
  const shown = (rate: number | null): string => (rate === null ? "none" : `${formatBytes(rate)}/s`);
  if (bytesPerSecond !== null) words.push(`bwlimit=${shown(bytesPerSecond)}`);
  words.push(...rates.map(({ window, bytesPerSecond: rate }) => `bwlimit="${shown(rate)} ${window}"`));
  words.push(...install.map((project) => `install=${printablePath(project)}`));
  if (scrubEveryMs !== null) words.push(`scrub=${everyText(scrubEveryMs)}`);
  words.push(...windows.map((window) => `window="${window}"`), ...ignore.map((line) => `ignore=${printablePath(line)}`));
  return words;
}
