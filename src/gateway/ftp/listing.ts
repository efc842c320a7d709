/** Entries as LIST, NLST, MLSD and MLST show them. */
import type { Entry } from "#model/entry.ts";
import { encodeName } from "#model/path.ts";
import { ftpTimeText, listTimeText } from "#platform/net/ftp-time.ts";

/** One name of a directory. */
export type Listed = {
  readonly name: string;
  readonly entry: Entry;
  /** The same for the same version of the same path, and for nothing else; undefined where there is no version. */
  readonly unique: string | undefined;
  readonly mayRead: boolean;
  readonly mayWrite: boolean;
};

export const FACTS = ["type", "size", "modify", "perm", "unique", "unix.mode"] as const;
export type Fact = (typeof FACTS)[number];
export const FACTS_DEFAULT: readonly Fact[] = FACTS;

/** What MLSD calls a directory: an entry of the listing, the listed directory itself, the one above. */
export type DirRole = "dir" | "cdir" | "pdir";

export type ListStyle =
  /** `times` are those of directories, which have none of their own. */
  | { readonly kind: "long"; readonly nowMs: number; readonly dirTimeNs: bigint }
  | { readonly kind: "names" }
  | { readonly kind: "facts"; readonly facts: readonly Fact[] };

const encoder = new TextEncoder();
/** A link's target is shown, and not followed. */
const LINK_MARK = " -> ";

/** A line without its end, as bytes: names are what they are on disk. */
export function listLine(listed: Listed, style: ListStyle, role: DirRole = "dir"): Uint8Array {
  switch (style.kind) {
    case "names":
      return nameBytes(listed.name);
    case "facts":
      return joined(`${factsText(listed, style.facts, role)} `, nameBytes(listed.name));
    case "long": {
      const { entry } = listed;
      const head = `${modeText(entry)} 1 syncline syncline ${String(sizeOf(entry)).padStart(12)} `;
      const time = listTimeText(entry.kind === "file" ? entry.mtimeNs : style.dirTimeNs, style.nowMs);
      const target = entry.kind === "symlink" ? joined(LINK_MARK, nameBytes(entry.target)) : new Uint8Array(0);
      return joined(`${head}${time} `, nameBytes(listed.name), target);
    }
  }
}

/** A name may hold what would end a line; no client could tell it from two names. */
function nameBytes(name: string): Uint8Array {
  return encodeName(name.replaceAll(/[\r\n\0]/g, "?"));
}

function joined(text: string, ...more: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat([encoder.encode(text), ...more]);
}

/** "type=file;size=3;…;", without the name. */
export function factsText({ entry, unique, mayRead, mayWrite }: Listed, facts: readonly Fact[], role: DirRole): string {
  let text = "";
  for (const fact of facts) {
    const value = factOf(fact, entry, unique, { mayRead, mayWrite }, role);
    if (value !== undefined) text += `${fact}=${value};`;
  }
  return text;
}

type Rights = { readonly mayRead: boolean; readonly mayWrite: boolean };

function factOf(fact: Fact, entry: Entry, unique: string | undefined, rights: Rights, role: DirRole): string | undefined {
  switch (fact) {
    case "type":
      if (entry.kind === "dir") return role;
      return entry.kind === "file" ? "file" : entry.kind === "symlink" ? "OS.unix=symlink" : "OS.unix=other";
    case "size":
      return entry.kind === "file" ? String(entry.size) : undefined;
    case "modify":
      return entry.kind === "file" ? ftpTimeText(entry.mtimeNs) : undefined;
    case "perm":
      return permissions(entry, rights);
    case "unique":
      return unique;
    case "unix.mode":
      return entry.kind === "file" || entry.kind === "dir" ? `0${(entry.mode & 0o7777).toString(8)}` : undefined;
  }
}

/** RFC 3659 §7.5.5: what the user may do with it, never what it might be good for. */
function permissions(entry: Entry, { mayRead, mayWrite }: Rights): string {
  if (entry.kind === "dir") return `el${mayWrite ? "cfmpd" : ""}`;
  if (entry.kind !== "file") return mayWrite ? "df" : "";
  return `${mayRead ? "r" : ""}${mayWrite ? "awdf" : ""}`;
}

const sizeOf = (entry: Entry): number =>
  entry.kind === "file" ? entry.size : entry.kind === "symlink" ? encodeName(entry.target).length : 0;

function modeText(entry: Entry): string {
  const mark = entry.kind === "dir" ? "d" : entry.kind === "symlink" ? "l" : "-";
  const mode = entry.kind === "file" || entry.kind === "dir" ? entry.mode : 0o777;
  const three = (bits: number): string => `${bits & 4 ? "r" : "-"}${bits & 2 ? "w" : "-"}${bits & 1 ? "x" : "-"}`;
  return mark + three(mode >> 6) + three(mode >> 3) + three(mode);
}

/** "-la dir": options are what `ls` has and are not needed; a name may begin with a dash where it is told so by "--". */
export function listArgument(argument: string): string {
  let rest = argument;
  for (;;) {
    const match = /^-([A-Za-z0-9]*|-)(?: +|$)/.exec(rest);
    if (match === null) return rest;
    rest = rest.slice(match[0].length);
    if (match[1] === "-") return rest;
  }
}

/** What OPTS MLST asks for: those that are known, in our order. */
export function factsOf(text: string): readonly Fact[] {
  const wanted = new Set(text.toLowerCase().split(";").map((one) => one.trim()));
  return FACTS.filter((fact) => wanted.has(fact));
}

/** For FEAT: a star behind those that are shown. */
export function factsFeature(shown: readonly Fact[]): string {
  return FACTS.map((fact) => `${fact}${shown.includes(fact) ? "*" : ""};`).join("");
}

/** "*" stands for anything, "?" for one character. Takes time by the product of both lengths at most. */
export function matchesName(pattern: string, name: string): boolean {
  let at = 0;
  let star = -1;
  let tried = 0;
  let next = 0;
  while (next < name.length) {
    if (pattern[at] === "*") {
      star = at++;
      tried = next;
    } else if (at < pattern.length && (pattern[at] === "?" || pattern[at] === name[next])) {
      at++;
      next++;
    } else if (star === -1) return false;
    else {
      at = star + 1;
      next = ++tried;
    }
  }
  while (pattern[at] === "*") at++;
  return at === pattern.length;
}
