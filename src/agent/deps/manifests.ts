/**
 * Reads what projects say of their dependencies: package.json and package-lock.json (v2, v3), go.mod and go.sum. What
 * they hold may be anything: sizes and counts are bounded, and whatever cannot be read is refused as a whole.
 */
import { createHash } from "node:crypto";
import { SynclineError } from "#model/error.ts";
import { DEPENDENCIES_MAX, DEPENDENCY_TEXT_MAX, type Dependency, canonical } from "#hub/agents/dependencies.ts";

/** Larger files are refused. */
export const MANIFEST_BYTES_MAX = 32 << 20;

const BLOCKS = [
  "dependencies", "devDependencies", "optionalDependencies", "peerDependencies", "peerDependenciesMeta", "overrides", "engines",
  "bundleDependencies", "bundledDependencies", "workspaces",
] as const;
/** Those of package.json that a lock file repeats. */
const LOCKED = ["dependencies", "devDependencies", "optionalDependencies", "peerDependencies"] as const;

type Json = Readonly<Record<string, unknown>>;

/** A hash of what a package.json says of dependencies: it stays when anything else is edited. @throws {SynclineError} STATE */
export function packageBlocks(text: string): string {
  const value = jsonObject("package.json", text);
  return hashOf(BLOCKS.map((key) => [key, sorted(value[key] ?? null)]));
}

/** Was the lock file made from this package.json? Then what it names can be installed exactly. */
export function isLockOf(lock: string, manifest: string): boolean {
  try {
    const root = asObject(asObject(jsonObject("package-lock.json", lock)["packages"])?.[""]);
    const wanted = jsonObject("package.json", manifest);
    if (root === undefined) return false;
    return LOCKED.every((key) => JSON.stringify(sorted(root[key] ?? {})) === JSON.stringify(sorted(wanted[key] ?? {})));
  } catch {
    return false;
  }
}

/** @throws {SynclineError} STATE for what is no lock file of version 2 or 3, LIMIT */
export function lockedPackages(text: string): Dependency[] {
  const value = jsonObject("package-lock.json", text);
  const version = value["lockfileVersion"];
  const packages = asObject(value["packages"]);
  if ((version !== 2 && version !== 3) || packages === undefined) {
    const hint = "npm install --package-lock-only --lockfile-version 3";
    throw unreadable("package-lock.json", `it has lockfileVersion ${JSON.stringify(version) ?? "none"}`, hint);
  }
  const found: Dependency[] = [];
  for (const [place, one] of Object.entries(packages)) {
    const at = place.lastIndexOf("node_modules/");
    const entry = asObject(one);
    // Others are the project itself, its workspaces, and links to them.
    if (at < 0 || entry === undefined || entry["link"] === true) continue;
    const name = textOf(entry["name"]) || place.slice(at + "node_modules/".length);
    const [version, integrity, source] = ["version", "integrity", "resolved"].map((key) => textOf(entry[key]));
    found.push(bounded({ ecosystem: "npm", name, version: version!, integrity: integrity!, source: source! }));
    if (found.length > DEPENDENCIES_MAX) throw tooMany("package-lock.json");
  }
  return canonical(found);
}

/** A hash of what a go.mod requires; comments, order and layout do not count. */
export function moduleBlocks(text: string): string {
  const lines: string[] = [];
  let block: string | undefined;
  for (const raw of text.split("\n")) {
    const words = raw.replace(/\/\/.*$/, "").trim().split(/\s+/);
    if (words[0] === "") continue;
    if (block !== undefined && words[0] === ")") block = undefined;
    else if (block === undefined && words[1] === "(") block = words[0];
    else {
      const line = block === undefined ? words : [block, ...words];
      if (["require", "replace", "exclude", "toolchain", "go"].includes(line[0]!)) lines.push(line.join(" "));
    }
  }
  return hashOf(lines.toSorted());
}

/** The modules of a go.sum; hashes of go.mod files alone are of modules that nobody needs. @throws {SynclineError} STATE, LIMIT */
export function summedModules(text: string): Dependency[] {
  const found: Dependency[] = [];
  for (const [at, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    const words = line.trim().split(/\s+/);
    const [name, version, integrity] = words as [string, string, string];
    if (words.length !== 3 || !integrity.includes(":")) throw unreadable("go.sum", `line ${at + 1} is none of it`, "go mod tidy");
    if (version.endsWith("/go.mod")) continue;
    found.push(bounded({ ecosystem: "go", name, version, integrity, source: "" }));
    if (found.length > DEPENDENCIES_MAX) throw tooMany("go.sum");
  }
  return canonical(found);
}

function bounded(one: Dependency): Dependency {
  const cut = (text: string): string => text.slice(0, DEPENDENCY_TEXT_MAX);
  return { ...one, name: cut(one.name), version: cut(one.version), integrity: cut(one.integrity), source: cut(one.source) };
}

function jsonObject(file: string, text: string): Json {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Not valid, or nested deeper than the stack.
  }
  const object = asObject(value);
  if (object === undefined) throw unreadable(file, "it is no JSON object", `correct ${file}`);
  return object;
}

function asObject(value: unknown): Json | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : undefined;
}

const textOf = (value: unknown): string => (typeof value === "string" ? value : "");

/** Deeper than any manifest goes. */
const DEPTH_MAX = 32;

/** Keys in order, at any depth. */
function sorted(value: unknown, depth = 0): unknown {
  if (depth > DEPTH_MAX) throw unreadable("package.json", "it is nested too deep", "correct package.json");
  if (Array.isArray(value)) return value.map((one) => sorted(one, depth + 1));
  if (typeof value !== "object" || value === null) return value;
  return Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([key, one]) => [key, sorted(one, depth + 1)]);
}

function hashOf(value: unknown): string {
  return createHash("sha256").update(JSON.stringify(value)).digest("hex");
}

function unreadable(file: string, what: string, hint: string): SynclineError {
  return new SynclineError({ code: "STATE", op: "read dependencies", path: file, message: `${file} cannot be read: ${what}`, hint });
}

function tooMany(file: string): SynclineError {
  return new SynclineError({ code: "LIMIT", op: "read dependencies", path: file, message: `${file} names more than ${DEPENDENCIES_MAX}` });
}
