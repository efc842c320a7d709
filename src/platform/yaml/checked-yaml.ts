/**
 * YAML that people write, checked by a schema: every complaint names file, line, column and key. One document a text;
 * keys given twice, unknown keys, and documents that grow by aliases are refused.
 */
import { LineCounter, type Document, isMap, isNode, isPair, parseDocument } from "yaml";
import type { ZodType, core } from "zod";
import { SynclineError, messageOf } from "#model/error.ts";

/** Larger texts are refused before they are read. */
export const YAML_BYTES_MAX = 4 << 20;
/** Aliases, counted with what they stand for: a few that refer to each other otherwise fill the memory. */
export const YAML_ALIASES_MAX = 100;
/** Complaints told of one text; the first ones explain the rest. */
export const YAML_COMPLAINTS_MAX = 20;

type Complaint = { readonly line: number; readonly column: number; readonly message: string };

/**
 * Reads a text of the file called `file`. An empty text is null to the schema.
 * @throws {SynclineError} USAGE with one line for each complaint
 */
export function readYaml<T>(text: string, file: string, schema: ZodType<T>): T {
  if (Buffer.byteLength(text) > YAML_BYTES_MAX)
    throw unusable(file, [{ line: 1, column: 1, message: `the file is larger than ${YAML_BYTES_MAX} bytes` }]);
  const lines = new LineCounter();
  const { document, value } = parse(text, file, lines);
  const checked = schema.safeParse(value);
  if (checked.success) return checked.data;
  const complaints = checked.error.issues.flatMap((issue) => complaintsOf(issue, document, lines));
  throw unusable(file, complaints.toSorted((a, b) => a.line - b.line || a.column - b.column));
}

function parse(text: string, file: string, lines: LineCounter): { document: Document; value: unknown } {
  try {
    const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
    const complaints = [...document.errors, ...document.warnings].map((error) => ({
      ...placeOf(lines, error.pos[0]),
      message: error.message,
    }));
    if (complaints.length > 0) throw unusable(file, complaints);
    return { document, value: document.toJS({ maxAliasCount: YAML_ALIASES_MAX }) };
  } catch (error) {
    if (error instanceof SynclineError) throw error;
    // Too many aliases, or nested deeper than the stack: the library names no place.
    const message = messageOf(error);
    throw unusable(file, [{ line: 1, column: 1, message }]);
  }
}

function placeOf(lines: LineCounter, offset: number): { line: number; column: number } {
  const { line, col } = lines.linePos(offset);
  // The counter answers line 0 for an empty text.
  return { line: Math.max(1, line), column: Math.max(1, col) };
}

/** One for each key that is unknown, otherwise one. */
function complaintsOf(issue: core.$ZodIssue, document: Document, lines: LineCounter): Complaint[] {
  const path = issue.path.map((part) => (typeof part === "symbol" ? String(part) : part));
  const complaint = (full: readonly (string | number)[], message: string): Complaint => {
    let key = "";
    for (const part of full) key += typeof part === "number" ? `[${part}]` : key === "" ? part : `.${part}`;
    return { ...placeOf(lines, offsetOf(document, full)), message: key === "" ? message : `${key}: ${message}` };
  };
  if (issue.code !== "unrecognized_keys") return [complaint(path, wordsOf(issue))];
  return issue.keys.map((unknown) => complaint([...path, unknown], "there is no such key"));
}

/** A name or token of digits alone is a number to YAML, and what has no value is nothing. */
function wordsOf({ code, message, ...issue }: core.$ZodIssue): string {
  if (code !== "invalid_type") return message;
  if (message.endsWith("received undefined") || message.endsWith("received null")) return "it is missing";
  const isPlain = /received (number|boolean)$/.test(message);
  return "expected" in issue && issue.expected === "string" && isPlain ? "this is text: put it in quotes" : message;
}

/** Where the value at a path begins, its key when the path ends in a map, or the deepest part that exists. */
function offsetOf(document: Document, path: readonly (string | number)[]): number {
  for (let length = path.length; length > 0; length--) {
    const parent = length === 1 ? document.contents : document.getIn(path.slice(0, length - 1), true);
    if (isMap(parent)) {
      const pair = parent.items.find((item) => isPair(item) && keyOf(item.key) === String(path[length - 1]));
      if (pair !== undefined && isNode(pair.key) && pair.key.range) return pair.key.range[0];
      continue;
    }
    const node = document.getIn(path.slice(0, length), true);
    if (isNode(node) && node.range) return node.range[0];
  }
  return document.contents?.range?.[0] ?? 0;
}

function keyOf(key: unknown): string {
  return typeof key === "object" && key !== null && "value" in key ? String(key.value) : String(key);
}

function unusable(file: string, complaints: readonly Complaint[]): SynclineError {
  const told = complaints.slice(0, YAML_COMPLAINTS_MAX);
  const rest = complaints.length - told.length;
  const text = told.map(({ line, column, message }) => `${file}:${line}:${column}: ${message}`);
  if (rest > 0) text.push(`and ${rest} more`);
  return new SynclineError({
    code: "USAGE",
    op: "read configuration",
    path: file,
    message: text.join("\n"),
    hint: "correct the file and try again",
  });
}
