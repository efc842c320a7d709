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

const WIDTH = 100;

export function overviewHelp(): string {
  const names = Object.keys(COMMANDS)
    .filter(isCommand)
    .filter((name) => commandSpec(name).hidden !== true);
  return [
    `syncline ${VERSION}: keeps directories the same between hosts, in real time, losing nothing`,
    "",
    "Usage: syncline <command> [options]",
    "",
    ...names.map((name) => `  ${name.padEnd(12)}${commandSpec(name).summary}`),
    "",
    "syncline help <command> shows its options. Each option is also an environment variable:",
    "--max-delete is SYNCLINE_MAX_DELETE. NO_COLOR turns colours off.",
    "",
    "Begin with:  syncline demo",
    "",
  ].join("\n");
}

export function commandHelp(name: CommandName): string {
  const spec = commandSpec(name);
  const lines = [
    `syncline ${name}: ${spec.summary}`,
    "",
    `Usage: syncline ${name} ${spec.operands}`.trimEnd() + " [options]",
    "",
  ];
  for (const detail of spec.details ?? []) lines.push(detail);
  if (spec.details !== undefined) lines.push("");
  lines.push("Options:");
  const heads = spec.options.map((option) => optionHead(option));
  const column = Math.min(30, Math.max(...heads.map(columnsOf)) + 2);
  for (const [at, option] of spec.options.entries()) lines.push(...optionLines(option, heads[at]!, column));
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
      return ` ${name.toUpperCase()}`;
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

function optionLines(name: OptionName, head: string, column: number): string[] {
  const spec = optionSpec(name);
  const extra: string[] = [];
  if (spec.type === "choice") extra.push(spec.choices.join("|"));
  if (spec.type === "list") extra.push("may be repeated");
  if (spec.fallback !== undefined) extra.push(`default: ${spec.fallback}`);
  const text = extra.length === 0 ? spec.help : `${spec.help} (${extra.join("; ")})`;
  const wrapped = wrap(text, WIDTH - column);
  const indent = " ".repeat(column);
  if (columnsOf(head) + 1 > column) return [head, ...wrapped.map((line) => indent + line)];
  return wrapped.map((line, at) => (at === 0 ? head.padEnd(column) : indent) + line);
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
