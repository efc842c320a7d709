/** Reads the command line and the environment into typed values, by the table in options.ts. */
import { resolve } from "node:path";
import type { Preserve } from "#model/entry.ts";
import {
  COMMANDS,
  type CommandName,
  type OPTIONS,
  type OptionName,
  type OptionSpec,
  commandSpec,
  environmentName,
  isCommand,
  isOption,
  optionSpec,
} from "#cli/options.ts";
import {
  nearest,
  parseBrake,
  parseChoice,
  parseDuration,
  parsePreserve,
  parseRate,
  usage,
} from "#cli/values.ts";
import { SynclineError } from "#model/error.ts";
import type { Brake } from "#sync/session/events.ts";

type ValueOf<S> = S extends { type: "flag" }
  ? boolean
  : S extends { type: "list" }
    ? readonly string[]
    : S extends { type: "choice"; choices: readonly (infer C)[] }
      ? C
      : S extends { type: "rate" | "duration" }
        ? number
        : S extends { type: "brake" }
          ? Brake | "none"
          : S extends { type: "preserve" }
            ? Preserve
            : string;

/** What was given; an option that was not given is absent. */
export type Given = { readonly [K in OptionName]?: ValueOf<(typeof OPTIONS)[K]> };

export type Parsed = {
  readonly command: CommandName;
  readonly operands: readonly string[];
  readonly given: Given;
  /** The options as they were written on the line, one word each (`--name=value`), file names made absolute. */
  readonly words: readonly string[];
};

const EMPTY_HINT = "leave the option out, or look for a variable that is not set";

/** Operands one command takes at most: bounds what a runaway shell glob can hand over. */
const ARGUMENTS_MAX = 100_000;

/**
 * @param args the words after the program's name
 * @param environment variables by name; only those of the command's options are looked at
 * @throws {SynclineError} USAGE; the hint names the nearest known word or the grammar of the value
 */
export function parse(args: readonly string[], environment: Record<string, string | undefined>): Parsed {
  if (args.length > ARGUMENTS_MAX) throw usage(`more than ${ARGUMENTS_MAX} arguments`);
  const [first, ...rest] = args;
  if (first === undefined || first === "--help" || first === "-h")
    return { command: "help", operands: [], given: {}, words: [] };
  if (first === "--version" || first === "-V")
    return { command: "version", operands: [], given: {}, words: [] };
  if (!isCommand(first)) throw unknownCommand(first);
  const values = new Map<OptionName, unknown>();
  fromEnvironment(first, environment, values);
  const words: string[] = [];
  const operands = fromLine(first, rest, values, words);
  const given = Object.fromEntries(values) as Given;
  if (given.help !== true) checkOperands(first, operands);
  return { command: first, operands, given, words };
}

function unknownCommand(word: string): SynclineError {
  const names = Object.keys(COMMANDS).filter((name) => isCommand(name) && commandSpec(name).hidden !== true);
  const near = nearest(word, names);
  const hint = near === undefined ? "syncline help lists the commands" : `did you mean "syncline ${near}"?`;
  return usage(word.startsWith("-") ? `no command before ${word}` : `unknown command "${word}"`, hint);
}

function checkOperands(command: CommandName, operands: readonly string[]): void {
  const spec = commandSpec(command);
  // An unset variable must not stand for the current directory.
  if (operands.includes("")) throw usage("an argument is empty", "look for a variable that is not set");
  const [word] = operands;
  if (spec.words !== undefined && word !== undefined && !spec.words.includes(word)) {
    const near = nearest(word, spec.words);
    const known = spec.words.join(", ");
    throw usage(`syncline ${command} has no "${word}"`, near === undefined ? `it has ${known}` : `did you mean "${near}"? It has ${known}`);
  }
  if (operands.length >= spec.min && operands.length <= spec.max) return;
  const what = operands.length < spec.min ? "something is missing" : `"${operands[spec.max]!}" is too much`;
  throw usage(`${what}: syncline ${command} ${spec.operands}`.trimEnd(), `syncline ${command} --help`);
}

function fromEnvironment(
  command: CommandName,
  environment: Record<string, string | undefined>,
  values: Map<OptionName, unknown>,
): void {
  for (const name of commandSpec(command).options) {
    const spec = optionSpec(name);
    const text = environment[environmentName(name)];
    if (spec.lineOnly === true || text === undefined || text === "") continue;
    const value =
      spec.type === "list"
        ? text.split("\n").filter((line) => line !== "")
        : withContext(environmentName(name), () => readValue(spec, text));
    values.set(name, value);
  }
}

/** Fills `values` and `written`, returns the operands. Options stand anywhere; after "--" all are operands. */
function fromLine(
  command: CommandName,
  words: readonly string[],
  values: Map<OptionName, unknown>,
  written: string[],
): string[] {
  const operands: string[] = [];
  const lists = new Set<OptionName>();
  for (let at = 0; at < words.length; at++) {
    const word = words[at]!;
    if (word === "--") return operands.concat(words.slice(at + 1));
    if (!word.startsWith("-") || word === "-") {
      operands.push(word);
      continue;
    }
    const { name, text, negated } = splitOption(command, word);
    const spec = optionSpec(name);
    if (spec.type === "flag") {
      const flag = text === undefined ? !negated : withContext(`--${name}`, () => readFlag(text));
      values.set(name, flag);
      written.push(`--${flag ? "" : "no-"}${name}`);
      continue;
    }
    const value = text ?? words[++at];
    if (value === undefined) throw usage(`--${name} needs a value`, `syncline ${command} --help`);
    const isFile = (spec.type === "text" || spec.type === "list") && spec.complete !== undefined;
    written.push(`--${name}=${isFile ? resolve(value) : value}`);
    if (spec.type === "list") {
      // The first one on the line replaces what the environment gave.
      const before = lists.has(name) ? (values.get(name) as readonly string[]) : [];
      lists.add(name);
      if (value === "") throw usage(`--${name}: the value is empty`, EMPTY_HINT);
      values.set(name, [...before, value]);
    } else
      values.set(
        name,
        withContext(`--${name}`, () => readValue(spec, value)),
      );
  }
  return operands;
}

type Split = { name: OptionName; text: string | undefined; negated: boolean };

function splitOption(command: CommandName, word: string): Split {
  const allowed = commandSpec(command).options;
  if (!word.startsWith("--")) {
    const name = allowed.find((option) => optionSpec(option).short === word[1]);
    if (name === undefined) throw usage(`unknown option ${word}`, `syncline ${command} --help`);
    if (word.length > 2) throw usage(`write -${word[1]} and what follows it apart: ${word}`);
    return { name, text: undefined, negated: false };
  }
  const equals = word.indexOf("=");
  const written = equals < 0 ? word.slice(2) : word.slice(2, equals);
  const text = equals < 0 ? undefined : word.slice(equals + 1);
  const positive = written.startsWith("no-") ? written.slice(3) : written;
  if (isOption(written) && allowed.includes(written)) return { name: written, text, negated: false };
  if (
    isOption(positive) &&
    allowed.includes(positive) &&
    optionSpec(positive).type === "flag" &&
    text === undefined
  ) {
    return { name: positive, text, negated: true };
  }
  if (isOption(written)) {
    const owners = Object.keys(COMMANDS).filter((name) => isCommand(name) && commandSpec(name).options.includes(written));
    throw usage(`--${written} is no option of ${command}`, `it belongs to: syncline ${owners.join(", ")}`);
  }
  const near = nearest(written, allowed);
  throw usage(
    `unknown option --${written}`,
    near === undefined ? `syncline ${command} --help` : `did you mean --${near}?`,
  );
}

function readFlag(text: string): boolean {
  if (/^(true|yes|on|1)$/i.test(text)) return true;
  if (/^(false|no|off|0)$/i.test(text)) return false;
  throw usage(`"${text}" is neither true nor false`, "give the option alone, or with =true or =false");
}

function readValue(spec: OptionSpec, text: string): unknown {
  switch (spec.type) {
    case "flag":
      return readFlag(text);
    case "choice":
      return parseChoice(text, spec.choices);
    case "rate":
      return parseRate(text);
    case "duration":
      return parseDuration(text, spec.maxMs);
    case "brake":
      return parseBrake(text) ?? "none";
    case "preserve":
      return parsePreserve(text);
    case "text":
    case "list":
      if (text === "") throw usage("the value is empty", EMPTY_HINT);
      return text;
  }
}

function withContext<T>(name: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (error instanceof SynclineError && error.code === "USAGE") {
      throw usage(`${name}: ${error.message}`, error.hint);
    }
    throw error;
  }
}
