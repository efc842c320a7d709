/**
 * A link: a root on a host bound to a space, or to a prefix of it. Plain values that hub and agent both speak, and what
 * makes them valid; both check what the other sends.
 */
import { z } from "zod";
import { SynclineError } from "#model/error.ts";
import { PRIVATE_DIR, pathFault } from "#model/path.ts";
import { MODES } from "#model/plan.ts";
import { HOST_NAME } from "#access/authority.ts";
import { PROJECT, PROJECTS_MAX } from "#hub/agents/dependencies.ts";
import { SPACE_NAME } from "#hub/space.ts";

/** Links of one host at most; each has a connection of its own. */
export const LINKS_PER_HOST_MAX = 64;
/** Characters of a link's ignore lines, and of a space's, together; longer rules belong into ignore files of the root. */
export const IGNORE_CHARS_MAX = 2048;
export const WINDOWS_MAX = 32;
/** Old releases that a link may keep beside the one that is shown. */
export const RELEASES_KEPT_MAX = 100;
export const PRIORITY_MAX = 100;
/** Characters of a path. */
const TEXT_MAX = 1024;

/** A label, "role=web" or "web". */
export const LABEL = /^[A-Za-z0-9][A-Za-z0-9._/=:-]{0,62}$/;
export const LINK_ID = /^[0-9a-f]{16}$/;

const space = z.string().regex(SPACE_NAME, "is not the name of a space");
const prefix = z.string().max(TEXT_MAX).refine((text) => text === "" || isUsable(text), "is no path inside a space");
const root = z
  .string()
  .max(TEXT_MAX)
  .refine((text) => text.startsWith("/") && !text.includes("\0"), "is not an absolute path");

const ignoreLines = z
  .array(z.string())
  .refine((lines) => lines.join("\n").length <= IGNORE_CHARS_MAX, `has more than ${IGNORE_CHARS_MAX} characters`);

/** A root as it is kept: two ways to write it are one root. */
export function trimRoot(root: string): string {
  return root.replace(/\/+$/, "") || "/";
}

function isUsable(path: string): boolean {
  return pathFault(path) === undefined && !path.split("/").includes(PRIVATE_DIR);
}

function isProject(text: string): boolean {
  const dir = PROJECT.exec(text)?.groups?.["dir"];
  return dir !== undefined && (dir === "." || isUsable(dir));
}

const WINDOW = /^(?:(?<days>[a-z]{3}(?:[-,][a-z]{3})*) )?(?<from>\d\d:\d\d)-(?<to>\d\d:\d\d)$/;
const DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/** Minutes of a week in which a link works: from `fromMinute` on for `minutes`, on each of `days` (0: Sunday). */
export type Window = { readonly days: readonly number[]; readonly fromMinute: number; readonly minutes: number };

/**
 * "22:00-06:00" (every day, over midnight), "mon-fri 08:00-17:30", "sat,sun 00:00-24:00". The days are those on which
 * the window begins. Undefined when it is none.
 */
export function parseWindow(text: string): Window | undefined {
  const groups = WINDOW.exec(text)?.groups;
  if (groups === undefined) return undefined;
  const fromMinute = minuteOf(groups["from"]!);
  const toMinute = minuteOf(groups["to"]!);
  const days = groups["days"] === undefined ? [0, 1, 2, 3, 4, 5, 6] : daysOf(groups["days"]);
  if (fromMinute === undefined || toMinute === undefined || days === undefined || fromMinute === 1440) return undefined;
  const minutes = toMinute > fromMinute ? toMinute - fromMinute : toMinute + 1440 - fromMinute;
  return { days, fromMinute, minutes };
}

function minuteOf(text: string): number | undefined {
  const [hours = 0, minutes = 0] = text.split(":").map(Number);
  const minute = hours * 60 + minutes;
  return minutes < 60 && minute <= 1440 ? minute : undefined;
}

function daysOf(text: string): number[] | undefined {
  const found = new Set<number>();
  for (const part of text.split(",")) {
    const [first, last, more] = part.split("-").map((name) => DAYS.indexOf(name));
    if (first === undefined || first < 0 || last === -1 || more !== undefined) return undefined;
    for (let day = first; ; day = (day + 1) % 7) {
      found.add(day);
      if (day === (last ?? first)) break;
    }
  }
  return [...found].toSorted();
}

const windowText = z.string().refine((text) => parseWindow(text) !== undefined, 'write it like "mon-fri 22:00-06:00"');
const project = z.string().refine(isProject, 'write it like "npm:app", "go:." or "npm:."');
const rate = z.number().int().min(1).nullable();

/** The longest pause between two scrubs: a year. */
export const SCRUB_EVERY_MS_MAX = 366 * 86_400_000;

/** How a link works. What is left out has the default that its line says. */
export const LINK_SETTINGS = z.strictObject({
  mode: z.enum(MODES as [(typeof MODES)[number], ...typeof MODES]).default("two-way-safe"),
  /** Whose changes a one-way mode carries over, and who is alpha in the others. */
  from: z.enum(["host", "space"]).default("host"),
  settle: z.enum(["immediate", "throttle", "debounce"]).default("throttle"),
  conflict: z.enum(["leave", "copy", "alpha", "beta", "newer"]).default("copy"),
  /** gitignore-style lines, after those of the space. */
  ignore: ignoreLines.default([]),
  /** When it works (the host's local time); empty: always. */
  windows: z.array(windowText).max(WINDOWS_MAX).default([]),
  /** Content bytes a second at most; null: no limit. */
  bytesPerSecond: rate.default(null),
  /** Other limits for some hours (the host's local time); of those that are open the first counts. */
  rates: z.array(z.strictObject({ window: windowText, bytesPerSecond: rate })).max(WINDOWS_MAX).default([]),
  /** While links with a higher one are at work, this one gives way. */
  priority: z.number().int().min(-PRIORITY_MAX).max(PRIORITY_MAX).default(0),
  /**
   * `release`: each batch is a tree of its own, and the root a symlink to the one that is shown; only where nobody may
   * change the space from there, see settingsFault().
   */
  apply: z.enum(["in-place", "release"]).default("in-place"),
  /** Old releases that are kept beside the one that is shown. */
  keepReleases: z.number().int().min(1).max(RELEASES_KEPT_MAX).default(5),
  /** Directories whose dependencies are kept installed, "npm:DIR" or "go:DIR"; only where the host allows it. */
  install: z.array(project).max(PROJECTS_MAX).default([]),
  /** How often all files of the host are read again in the background, and damaged ones healed; null: never. */
  scrubEveryMs: z.number().int().min(1).max(SCRUB_EVERY_MS_MAX).nullable().default(null),
});

export type LinkSettings = z.infer<typeof LINK_SETTINGS>;

/** Is the space only read through such a link? */
export function neverWritesSpace({ mode, from }: LinkSettings): boolean {
  return mode.startsWith("one-way") && from === "space";
}

/** Why these settings cannot go together; undefined: they can. */
export function settingsFault(settings: LinkSettings): string | undefined {
  if (settings.apply === "release" && settings.install.length > 0) {
    return "what is installed would become part of a release: with apply=release install in a command before the flip";
  }
  if (settings.apply !== "release" || neverWritesSpace(settings)) return undefined;
  return "apply=release shows what the space has and takes nothing back: give mode=one-way-replica,from=space";
}

/** Where a link leads. */
export const TARGET = { root, space, prefix };
const fitting = LINK_SETTINGS.superRefine((settings, context) => {
  const message = settingsFault(settings);
  if (message !== undefined) context.addIssue({ code: "custom", message });
});

/** A link as a host's own command line or configuration declares it. */
export const DECLARED_LINK = z.strictObject({ ...TARGET, settings: fitting });
export type DeclaredLink = z.infer<typeof DECLARED_LINK>;

/** A link as it is created at the hub: for one host, or for every host with a label. */
export const NEW_LINK = z
  .strictObject({
    host: z.string().regex(HOST_NAME, "is no name of a host").optional(),
    selector: z.string().regex(LABEL).optional(),
    ...TARGET,
    prefix: prefix.default(""),
    settings: fitting.prefault({}),
    enabled: z.boolean().default(true),
  })
  .refine((link) => (link.host === undefined) !== (link.selector === undefined), "name a host or a selector, not both");
export type NewLink = z.infer<typeof NEW_LINK>;

/** A link as its host gets it from the hub. */
export const ASSIGNED_LINK = z.strictObject({
  id: z.string().regex(LINK_ID),
  ...TARGET,
  settings: LINK_SETTINGS,
  enabled: z.boolean(),
  /** Grows with each change of the link. */
  generation: z.number().int().min(1),
  /** The space's seeds, hex; null while the space cannot be used, and then `trouble` says why. */
  seeds: z.string().regex(/^[0-9a-f]{32}$/).nullable(),
  /** Lines of the space, before those of the link. */
  spaceIgnore: ignoreLines,
  trouble: z.string().max(TEXT_MAX).nullable(),
});
export type AssignedLink = z.infer<typeof ASSIGNED_LINK>;

/** Reads `value` as the schema says. @throws {SynclineError} USAGE that names the place and what is wrong there */
export function checked<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const where = issue === undefined || issue.path.length === 0 ? what : `${what}: ${issue.path.join(".")}`;
  throw new SynclineError({ code: "USAGE", op: "read link", message: `${where}: ${issue?.message ?? "is not valid"}` });
}
