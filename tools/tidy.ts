/**
 * Holds the house rules that no compiler knows: which room may import which, who may touch the operating system, how
 * long files and functions may be, and one word for one thing. `npm run tidy` checks the tree; tidy.test.ts runs it
 * with the tests. Every breach is one line `file:line: what`.
 */
import { readFileSync } from "node:fs";
import { dirname, join, normalize, relative, resolve } from "node:path";

export const FILE_LINES_MAX = 700;
export const FUNCTION_LINES_MAX = 70;
/** Far beyond what is wanted (110); only lines that nobody can read are refused. */
export const COLUMNS_MAX = 140;

/**
 * The ladder: a room may import from itself and from the rooms listed. The order is the floor plan of ARCHITECTURE.md.
 * `platform` holds interfaces (files directly in it) that every room but model may know; how they are done is in its
 * folders, which only the outermost rooms open.
 */
const LADDER: Record<string, readonly string[]> = {
  model: [],
  platform: ["model"],
  chunk: ["model", "platform", "wire", "endpoint-contract"],
  wire: ["model", "platform"],
  plan: ["model", "events-contract"],
  index: ["model", "platform", "wire"],
  scan: ["model", "platform", "wire", "index", "chunk", "watch", "endpoint-contract"],
  watch: ["model", "platform", "scan"],
  transport: ["model", "platform", "wire"],
  transfer: ["model", "platform", "wire", "chunk", "index", "scan", "endpoint-contract"],
  apply: ["model", "platform", "wire", "chunk", "index", "scan", "transfer", "endpoint-contract"],
  verify: ["model", "platform", "wire", "chunk", "index", "scan"],
  endpoint: [
    "model",
    "platform",
    "wire",
    "chunk",
    "index",
    "scan",
    "watch",
    "transport",
    "transfer",
    "apply",
    "verify",
  ],
  foreign: ["model", "platform", "wire", "chunk", "index", "scan", "transport", "transfer", "apply", "endpoint"],
  session: [
    "model",
    "platform",
    "wire",
    "chunk",
    "index",
    "plan",
    "scan",
    "transport",
    "transfer",
    "endpoint",
  ],
  config: ["model", "platform", "access", "agents-contract"],
  access: ["model", "platform"],
  store: ["model", "platform", "wire", "chunk"],
  jobs: ["model", "platform", "access"],
  hub: [
    "model",
    "platform",
    "wire",
    "chunk",
    "scan",
    "transport",
    "transfer",
    "apply",
    "endpoint",
    "foreign",
    "store",
    "access",
    "jobs",
  ],
  agent: [
    "model",
    "platform",
    "wire",
    "index",
    "transport",
    "apply",
    "endpoint",
    "session",
    "config",
    "access",
    "agents-contract",
  ],
  observe: ["model", "platform"],
  gateway: ["model", "platform", "wire", "chunk", "endpoint", "store", "access", "jobs", "hub", "config", "observe"],
  cli: [
    "model",
    "platform",
    "wire",
    "index",
    "plan",
    "transport",
    "verify",
    "endpoint",
    "foreign",
    "session",
    "config",
    "access",
    "store",
    "jobs",
    "hub",
    "agent",
    "gateway",
    "observe",
  ],
  main: ["cli"],
};

/** Files of another room that hold nothing but values which both speak: types, and what makes them valid. */
const CONTRACTS: Record<string, string> = {
  "src/sync/endpoint/endpoint.ts": "endpoint-contract",
  "src/sync/session/events.ts": "events-contract",
  "src/hub/agents/hello.ts": "agents-contract",
  "src/hub/agents/link.ts": "agents-contract",
  "src/hub/agents/control.ts": "agents-contract",
  "src/hub/agents/path-set.ts": "agents-contract",
  "src/hub/agents/dependencies.ts": "agents-contract",
  "src/hub/agents/left-conflicts.ts": "agents-contract",
};

/** Rooms that may not know time, chance or the system even through an interface. */
const PURE_ROOMS = ["model", "plan"];

/** Modules and globals of the operating system; only platform and the command line may use them. */
const SYSTEM_MODULES =
  /^(node:(fs|net|tls|dgram|http|https|http2|child_process|worker_threads|os|process|dns)(\/.*)?|bun:ffi)$/;
const SYSTEM_USES: readonly { pattern: RegExp; what: string }[] = [
  { pattern: /\bDate\.now\(|\bnew Date\(\)/, what: "the wall clock; take a Clock" },
  { pattern: /\bMath\.random\(|\bcrypto\.(getRandomValues|randomUUID)\(/, what: "chance; take a Random" },
  { pattern: /\bperformance\.now\(/, what: "the clock; take a Clock" },
  { pattern: /\bprocess\.(?!memoryUsage)/, what: "process" },
  {
    pattern: /\bBun\.(spawn|spawnSync|file|write|serve|listen|connect|env|argv|sleep|which)\b/,
    what: "the system through Bun",
  },
];
/** A database is a file that its library opens itself: what goes with that file stays beside it. */
const SYSTEM_FILES = ["src/sync/index/sql.ts", "src/sync/index/sqlite-store.ts"];
const SYSTEM_ROOMS = ["platform", "cli", "main"];

/** Words that mean something else here, or what another word means already. */
const BANNED: readonly { pattern: RegExp; use: string }[] = [
  { pattern: /\bpeer device\b/i, use: "side, or peer" },
  { pattern: /\bbaseline\b/i, use: "ancestor" },
  { pattern: /\bsync pair\b/i, use: "pair" },
  { pattern: /\bdry run plan\b/i, use: "plan" },
  { pattern: /\bsoft[- ]?link\b/i, use: "symlink" },
  { pattern: /\b(white|black)list/i, use: "allow list, deny list" },
  { pattern: /\bsync root folder\b/i, use: "root" },
  { pattern: /\btempfile\b/i, use: "staged file, or partial" },
];

const MAY_PRINT = /^(src\/cli|src\/testing|tools|bench|acceptance)\//;
const UNFINISHED = /\b(TODO|FIXME|XXX|HACK)\b/;
/** Passing it on in a call is no keeping. */
const KEPT_POINTER = /[=:]\s*ptr\(/;
const SKIPPED = /\b(?:test|it|describe)\.(only|skip|todo)\b/;

export type Breach = { readonly file: string; readonly line: number; readonly what: string };

/** The room a file belongs to; undefined for files outside the house (tests and the simulator's parts included). */
export function roomOf(file: string): string | undefined {
  const parts = file.split("/");
  if (parts[0] !== "src" || parts[1] === "testing") return undefined;
  if (parts.length === 2) return "main";
  return parts[1] === "sync" ? parts[2] : parts[1];
}

const isTest = (file: string): boolean =>
  /\.(test|fuzz|sim|bench)\.ts$|-(contract|fixture)\.ts$|\/test[^/]*\//.test(file);

/** Checks one file. `file` is relative to the checkout, with "/" between its parts. */
export function checkFile(file: string, text: string): Breach[] {
  const breaches: Breach[] = [];
  const lines = text.split("\n");
  const add = (line: number, what: string): void => {
    breaches.push({ file, line, what });
  };
  if (lines.length - 1 > FILE_LINES_MAX)
    add(FILE_LINES_MAX + 1, `the file has more than ${FILE_LINES_MAX} lines`);
  // This file's own table names what it forbids.
  const ownTable = file.startsWith("tools/tidy");
  for (const [at, line] of lines.entries()) {
    if (line.length > COLUMNS_MAX && !isTest(file))
      add(at + 1, `the line has more than ${COLUMNS_MAX} columns`);
    if (ownTable) continue;
    if (UNFINISHED.test(line)) add(at + 1, "unfinished work belongs into an issue");
    if (KEPT_POINTER.test(line)) add(at + 1, "an address that is kept; take heldAddress()");
    if (SKIPPED.test(line)) add(at + 1, "a test that is switched off");
    for (const { pattern, use } of BANNED) {
      const word = pattern.exec(line)?.[0];
      if (word !== undefined && !/["'`]/.test(line)) add(at + 1, `"${word}": the word here is ${use}`);
    }
    if (/\bconsole\.\w+\(/.test(line) && !MAY_PRINT.test(file)) add(at + 1, "console");
  }
  // A suite is a list of cases, not a function that somebody has to understand as a whole.
  for (const { line, length, name } of isTest(file) ? [] : longFunctions(lines)) {
    add(line, `${name} has ${length} lines, more than ${FUNCTION_LINES_MAX}`);
  }
  const room = roomOf(file);
  if (room === undefined || isTest(file)) return breaches;
  breaches.push(...checkImports(file, room, text), ...checkSystem(file, room, lines));
  return breaches;
}

function checkImports(file: string, room: string, text: string): Breach[] {
  const breaches: Breach[] = [];
  const add = (line: number, what: string): void => {
    breaches.push({ file, line, what });
  };
  const allowed = LADDER[room];
  if (allowed === undefined)
    return [{ file, line: 1, what: `the room "${room}" is not in the ladder of tools/tidy.ts` }];
  for (const match of text.matchAll(/(?:^|[\s;}])(?:from|import)\s*\(?\s*"([^"]+)"/g)) {
    const module = match[1]!;
    // Telling an address from a name is no use of the network.
    if (module === "node:net" && text.slice(0, match.index + 1).trimEnd().endsWith("import { isIP }")) continue;
    const line = text.slice(0, match.index).split("\n").length + (match[0].startsWith("\n") ? 1 : 0);
    if (SYSTEM_MODULES.test(module) && !SYSTEM_ROOMS.includes(room) && !SYSTEM_FILES.includes(file))
      add(line, `${room} uses ${module}`);
    if (module.startsWith("node:") && PURE_ROOMS.includes(room)) add(line, `${room} is pure: ${module}`);
    const target = resolveImport(file, module);
    if (target === undefined) continue;
    const other = CONTRACTS[target] ?? roomOf(target);
    if (target.startsWith("src/testing/")) add(line, "only tests import from testing");
    const home = roomOf(target);
    if (other === undefined || home === undefined || home === room) continue;
    if (allowed.includes(other) || allowed.includes(home)) continue;
    add(line, `${room} may not import from ${other} (${module})`);
  }
  return breaches;
}

const ALIASES: readonly (readonly [string, string])[] = [
  ["#platform/", "src/platform/"],
  ["#model/", "src/sync/model/"],
  ["#sync/", "src/sync/"],
  ["#testing/", "src/testing/"],
  ["#store/", "src/store/"],
  ["#access/", "src/access/"],
  ["#hub/", "src/hub/"],
  ["#config/", "src/config/"],
  ["#agent/", "src/agent/"],
  ["#observe/", "src/observe/"],
  ["#gateway/", "src/gateway/"],
  ["#jobs/", "src/jobs/"],
  ["#cli/", "src/cli/"],
];

/** The file of the checkout that an import names; undefined for packages. */
function resolveImport(file: string, module: string): string | undefined {
  if (module.startsWith(".")) return normalize(join(dirname(file), module)).replaceAll("\\", "/");
  const alias = ALIASES.find(([prefix]) => module.startsWith(prefix));
  return alias === undefined ? undefined : alias[1] + module.slice(alias[0].length);
}

function checkSystem(file: string, room: string, lines: readonly string[]): Breach[] {
  if (SYSTEM_ROOMS.includes(room)) return [];
  const breaches: Breach[] = [];
  for (const [at, line] of lines.entries()) {
    const code = line.replace(/^\s*(\*|\/\/|\/\*).*$/, "").replace(/\/\/ .*$/, "");
    for (const { pattern, what } of SYSTEM_USES) {
      if (pattern.test(code)) breaches.push({ file, line: at + 1, what: `${room} touches ${what}` });
    }
  }
  return breaches;
}

/**
 * Functions and methods over the limit. Found by their indentation, which the formatter keeps honest: a line that opens
 * a body, and the first line after it that closes at the same depth.
 */
function longFunctions(lines: readonly string[]): { line: number; length: number; name: string }[] {
  const found: { line: number; length: number; name: string }[] = [];
  const open: { indent: number; line: number; name: string }[] = [];
  let pending: { indent: number; line: number; name: string } | undefined;
  for (const [at, line] of lines.entries()) {
    const indent = line.search(/\S/);
    const start = functionName(line);
    if (start !== undefined) pending = { indent, line: at, name: start };
    if (pending !== undefined && /\{\s*$/.test(line) && (at === pending.line || indent === pending.indent)) {
      open.push(pending);
      pending = undefined;
    } else if (pending !== undefined && /;\s*$/.test(line) && indent <= pending.indent) pending = undefined;
    const top = open.at(-1);
    if (top === undefined || indent !== top.indent || !/^\s*\}/.test(line) || at === top.line) continue;
    // "): Promise<void> {" closes the parameters and opens the body; the body ends later.
    if (/\{\s*$/.test(line)) continue;
    open.pop();
    const length = at - top.line + 1;
    if (length > FUNCTION_LINES_MAX) found.push({ line: top.line + 1, length, name: top.name });
  }
  return found;
}

const KEYWORDS = /^(if|for|while|switch|catch|return|else|do|try|function|describe|test|it|get|set)$/;

/** The name when a function, method or arrow function assigned to a name begins on this line. */
function functionName(line: string): string | undefined {
  const plain = /^\s*(?:export\s+)?(?:async\s+)?function\s*\*?\s*([\w$]+)/.exec(line);
  if (plain !== null) return plain[1];
  const arrow = /^\s*(?:export\s+)?(?:const|readonly|let)\s+(#?[\w$]+)\b[^;]*=\s*(?:async\s*)?\([^;]*$/.exec(
    line,
  );
  if (arrow !== null && /=>\s*\{\s*$|\(\s*$/.test(line)) return arrow[1];
  const method =
    /^\s+(?:static\s+)?(?:async\s+)?\*?\s*(#?[\w$]+|\[Symbol\.\w+\])\s*(?:<[^>]*>)?\([^;]*$/.exec(line);
  if (method === null || KEYWORDS.test(method[1]!) || !/(\{|\()\s*$/.test(line)) return undefined;
  // A call that goes on over several lines looks alike, but a method's line ends with a body or opens parameters alone.
  return /\)\s*(:[^=]*)?\{\s*$/.test(line) ? method[1] : undefined;
}

/** Checks the whole checkout. */
export function checkTree(root: string): Breach[] {
  const breaches: Breach[] = [];
  for (const pattern of ["src/**/*.ts", "tools/**/*.ts", "bench/**/*.ts", "acceptance/**/*.ts"]) {
    for (const file of [...new Bun.Glob(pattern).scanSync(root)].sort()) {
      breaches.push(...checkFile(file.replaceAll("\\", "/"), readFileSync(join(root, file), "utf8")));
    }
  }
  return [...breaches, ...checkVersion(root)];
}

/** The version is written twice, because a standalone executable carries no package.json. */
function checkVersion(root: string): Breach[] {
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  const file = "src/cli/version.ts";
  if (readFileSync(join(root, file), "utf8").includes(`"${version}"`)) return [];
  return [{ file, line: 2, what: `package.json says ${version}` }];
}

if (import.meta.main) {
  const root = resolve(import.meta.dir, "..");
  const breaches = checkTree(root);
  for (const { file, line, what } of breaches) {
    console.error(`${relative(process.cwd(), join(root, file))}:${line}: ${what}`);
  }
  console.log(
    breaches.length === 0 ? "tidy: nothing to complain about" : `tidy: ${breaches.length} to put right`,
  );
  process.exitCode = breaches.length === 0 ? 0 : 1;
}
