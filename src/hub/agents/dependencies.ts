/**
 * Resolved dependencies of a project as agents tell them and people compare them: plain values, their canonical order,
 * the hash by which two lists are known to be the same, and what differs where they are not.
 */
import { createHash } from "node:crypto";
import { z } from "zod";

/** Projects of one link. */
export const PROJECTS_MAX = 8;
/** Dependencies of one project; a list that is longer is refused. */
export const DEPENDENCIES_MAX = 100_000;
/** Dependencies in one message. */
export const DEPENDENCIES_PER_PART = 500;
/** Characters of any of their texts. */
export const DEPENDENCY_TEXT_MAX = 1000;

/** "npm:DIR" or "go:DIR": a directory of the root, "." for the root itself. */
export const PROJECT = /^(?<kind>npm|go):(?<dir>\.|[^\0]{1,200})$/;

const text = z.string().max(DEPENDENCY_TEXT_MAX);
export const DEPENDENCY = z.strictObject({
  ecosystem: z.enum(["npm", "go"]),
  name: text,
  version: text,
  /** As the lock file has it; "" where it has none. */
  integrity: text,
  /** Where it is fetched from; "" where the lock file does not say. */
  source: text,
});
export type Dependency = z.infer<typeof DEPENDENCY>;

const lineOf = ({ ecosystem, name, version, integrity, source }: Dependency): string =>
  JSON.stringify([ecosystem, name, version, integrity, source]);

/** Each once, in an order that does not hang on that of the file. */
export function canonical(list: readonly Dependency[]): Dependency[] {
  const lines = new Map(list.map((one) => [lineOf(one), one]));
  return [...lines].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, one]) => one);
}

/** 32 hex digits; the same for the same set. */
export function setHash(list: readonly Dependency[]): string {
  const hash = createHash("sha256");
  for (const one of canonical(list)) hash.update(`${lineOf(one)}\n`);
  return hash.digest("hex").slice(0, 32);
}

export type DependencyDifference = {
  readonly kind: "missing" | "extra" | "version" | "integrity";
  readonly name: string;
  /** As the most have it, and as these have it; versions, or what names the content; "" where there is none. */
  readonly usual: string;
  readonly found: string;
};

/** What a list has otherwise than the usual one, by name. */
export function differences(usual: readonly Dependency[], found: readonly Dependency[]): DependencyDifference[] {
  const [a, b] = [byName(usual), byName(found)];
  const result: DependencyDifference[] = [];
  for (const name of new Set([...a.keys(), ...b.keys()])) {
    const [one, other] = [a.get(name) ?? [], b.get(name) ?? []];
    const [versions, others] = [versionsOf(one), versionsOf(other)];
    if (other.length === 0) result.push({ kind: "missing", name, usual: versions, found: "" });
    else if (one.length === 0) result.push({ kind: "extra", name, usual: "", found: others });
    else if (versions !== others) result.push({ kind: "version", name, usual: versions, found: others });
    else if (contentsOf(one) !== contentsOf(other)) {
      result.push({ kind: "integrity", name, usual: contentsOf(one), found: contentsOf(other) });
    }
  }
  return result.toSorted((x, y) => (x.name < y.name ? -1 : 1));
}

function byName(list: readonly Dependency[]): Map<string, Dependency[]> {
  const names = new Map<string, Dependency[]>();
  for (const one of canonical(list)) {
    const there = names.get(one.name);
    if (there === undefined) names.set(one.name, [one]);
    else there.push(one);
  }
  return names;
}

const versionsOf = (list: readonly Dependency[]): string => [...new Set(list.map(({ version }) => version))].toSorted().join(", ");
const contentsOf = (list: readonly Dependency[]): string =>
  list.map(({ version, integrity, source }) => `${version} ${integrity || source}`.trim()).join(", ");
