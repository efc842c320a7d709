/** Help texts, made from the table in options.ts. Pure. */
import { columnsOf } from "#cli/format.ts";
import {
  COMMANDS,
  type CommandName,
  type OptionName,
  commandSpec,
  isCommand,
  optionSpec,
} from "#cli/options.ts";
import { VERSION } from "#cli/version.ts";

/** Lines are as long as the terminal is wide, within these bounds. */
const WIDTH_MIN = 40;
const WIDTH_MAX = 100;
/** Below this an option's text does not stand beside it but under it. */
const BESIDE_MIN = 64;
const UNDER_INDENT = 10;
/** Where the summaries of commands begin. */
const NAME_COLUMN = 17;

const within = (columns: number): number => Math.max(WIDTH_MIN, Math.min(WIDTH_MAX, columns));

/** Commands as the overview groups them; what no group names comes at the end. */
const GROUPS: readonly { readonly title: string; readonly commands: readonly CommandName[] }[] = [
  {
    title: "Two directories",
    commands: ["sync", "serve", "verify", "log", "undo", "conflicts", "resolve", "forget", "doctor", "demo"],
  },
  { title: "A hub and its hosts", commands: ["hub", "agent", "config", "agents", "links", "link", "release", "deps", "holds", "approve"] },
  {
    title: "Spaces and their files",
    commands: [
      "space", "ls", "put", "get", "rm", "mkdir", "mv", "cp", "history", "journal", "restore-point", "restore", "share", "sign",
      "webhook",
    ],
  },
  { title: "Work of the hub", commands: ["jobs", "schedules", "profile"] },
  {
    title: "People and keys",
    commands: [
      "login", "logout", "user", "group", "role", "session", "token", "join-token", "s3-key", "ssh-key", "access", "audit",
    ],
  },
];

function groups(): typeof GROUPS {
  const named = new Set(GROUPS.flatMap(({ commands }) => commands));
  const isShown = (name: CommandName): boolean => commandSpec(name).hidden !== true && !named.has(name);
  return [...GROUPS, { title: "This program", commands: Object.keys(COMMANDS).filter(isCommand).filter(isShown) }];
}

/** @param columns of the terminal */
export function overviewHelp(columns: number): string {
  const width = within(columns);
  const shown = groups().flatMap(({ title, commands }) => [
    "",
    `${title}:`,
    ...commands.flatMap((name) => beside(`  ${name}`, commandSpec(name).summary, NAME_COLUMN, width)),
  ]);
  return [
    ...wrap(`syncline ${VERSION}: keeps directories the same between hosts, in real time, losing nothing`, width),
    "",
    "Usage: syncline <command> [options]",
    ...shown,
    "",
    ...wrap(
      "syncline help <command> shows its options. Each option is also an environment variable: --max-delete is " +
        "SYNCLINE_MAX_DELETE. NO_COLOR turns colours off.",
      width,
    ),
    "",
    "Begin with:  syncline demo",
    "",
  ].join("\n");
}

/** @param columns of the terminal */
export function commandHelp(name: CommandName, columns: number): string {
  const width = within(columns);
  const spec = commandSpec(name);
  const usage = `Usage: syncline ${name} ${spec.operands}`.trimEnd() + " [options]";
  const lines = [...wrap(`syncline ${name}: ${spec.summary}`, width), "", ...wrap(usage, width), ""];
  for (const detail of spec.details ?? []) lines.push(...wrap(detail, width));
  if (spec.details !== undefined) lines.push("");
  lines.push("Options:");
  const heads = spec.options.map((option) => optionHead(option));
  const column = Math.min(30, Math.max(...heads.map(columnsOf)) + 2);
  for (const [at, option] of spec.options.entries()) {
    lines.push(...beside(heads[at]!, optionText(option), column, width));
  }
  if (spec.examples !== undefined)
    lines.push("", "Examples:", ...spec.examples.map((example) => `  ${example}`));
  lines.push("");
  return lines.join("\n");
}

/** "  -n, --dry-run", "      --mode MODE". */
function optionHead(name: OptionName): string {
  const spec = optionSpec(name);
  const short = spec.short === undefined ? "    " : `-${spec.short}, `;
  return `  ${short}--${name}${valueName(name)}`;
}

/** What stands for the value in help: " FILE", or "" for a flag. */
function valueName(name: OptionName): string {
  const spec = optionSpec(name);
  switch (spec.type) {
    case "flag":
      return "";
    case "text":
    case "list":
      return ` ${spec.value}`;
    case "choice":
      return spec.choices.length === 1 ? ` ${spec.choices[0]}` : ` ${name.toUpperCase()}`;
    case "rate":
      return " BYTES/s";
    case "duration":
      return " TIME";
    case "brake":
      return " N|P%|none";
    case "preserve":
      return " NAMES";
  }
}

function optionText(name: OptionName): string {
  const spec = optionSpec(name);
  const extra: string[] = [];
  if (spec.type === "choice" && spec.choices.length > 1) extra.push(spec.choices.join(", "));
  if (spec.type === "list") extra.push("may be repeated");
  if (spec.fallback !== undefined) extra.push(`default: ${spec.fallback}`);
  return extra.length === 0 ? spec.help : `${spec.help} (${extra.join("; ")})`;
}

/** A head with its text from `column` on, or under it where the lines are short or the head is long. */
function beside(head: string, text: string, column: number, width: number): string[] {
  const isNarrow = width < BESIDE_MIN && column > NAME_COLUMN;
  const indent = isNarrow ? UNDER_INDENT : column;
  const wrapped = wrap(text, width - indent);
  if (isNarrow || columnsOf(head) + 1 > column) return [head, ...wrapped.map((line) => " ".repeat(indent) + line)];
  return wrapped.map((line, at) => (at === 0 ? head.padEnd(column) : " ".repeat(column)) + line);
}

/** Breaks a text at spaces into lines of at most `columns`; a longer word stays whole. */
function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && columnsOf(line) + 1 + columnsOf(word) > columns) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return line === "" ? lines : [...lines, line];
}
