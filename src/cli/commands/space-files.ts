/** `syncline ls`, `put`, `get`, `rm`, `mv` and `cp`: files of a space on a hub. */
import { createHash } from "node:crypto";
import { basename, join, resolve } from "node:path";
import { closeSync, fsyncSync, openSync, renameSync, rmSync, statSync, utimesSync, writeSync } from "node:fs";
import { SynclineError } from "#model/error.ts";
import { nameOf, printablePath } from "#model/path.ts";
import { type VersionJson, fileTimeText } from "#gateway/api/shapes.ts";
import type { Command, Context } from "#cli/context.ts";
import { EXIT } from "#cli/exit-code.ts";
import { formatBytes, formatCount, plural, tableLines } from "#cli/format.ts";
import { openClient, parseFilePlace, parsePlace, requirePath } from "#cli/hub-client.ts";
import { usage } from "#cli/values.ts";

/** Lines put into columns together; the columns of a long listing may change their width in between. */
const TABLE_ROWS = 1000;

export const lsCommand: Command = async (context) => {
  const { output, parsed } = context;
  const { given, operands } = parsed;
  const { space, path } = parsePlace(operands[0]!);
  const client = openClient(context);
  let rows: string[][] = [];
  let count = 0;
  const flush = (): void => {
    if (!output.form.json && rows.length > 0) output.answer(tableLines(rows).join("\n"));
    rows = [];
  };
  const shallow = given.recursive !== true;
  if (path !== "") {
    // A file is listed as itself; what is not there is an error and no empty list.
    const one = await client.entry(space, path, given.at);
    if (one.kind !== "dir") {
      output.event({ type: "entry", ...one });
      rows.push(row(one));
      flush();
      return EXIT.same;
    }
  }
  for await (const entry of client.list(space, path, { shallow, at: given.at })) {
    output.event({ type: "entry", ...entry });
    rows.push(row(entry));
    count++;
    if (rows.length === TABLE_ROWS) flush();
  }
  flush();
  output.line(plural(count, "entry", "entries"));
  return EXIT.same;
};

function row({ path, kind, size, mode, mtime, sequence, target }: VersionJson): string[] {
  const name = printablePath(path) + (kind === "dir" ? "/" : "");
  const shown = target === undefined ? name : `${name} -> ${printablePath(target)}`;
  return [mode ?? "", size === undefined ? "-" : formatCount(size), mtime?.slice(0, 19) ?? "", `#${sequence}`, shown];
}

export const putCommand: Command = async (context) => {
  const [file, text] = context.parsed.operands;
  const { space, path } = parseFilePlace(text!);
  const client = openClient(context);
  const version =
    file === "-"
      ? await client.put(space, path, Bun.stdin.stream())
      : await client.put(space, path, Bun.file(readable(file!)), stampsOf(file!));
  context.output.event({ type: "put", ...version });
  context.output.line(`${space}:${printablePath(path)}  ${formatBytes(version.size ?? 0)}  sequence ${version.sequence}`);
  return EXIT.same;
};

function readable(file: string): string {
  if (statSync(file, { throwIfNoEntry: false })?.isFile() === true) return file;
  throw usage(`${file} is not a file`, "put takes one file; syncline agent keeps directories");
}

function stampsOf(file: string): { mtime: string; mode: string } {
  const { mtimeNs, mode } = statSync(file, { bigint: true });
  return { mtime: fileTimeText(mtimeNs), mode: (Number(mode) & 0o7777).toString(8).padStart(4, "0") };
}

export const getCommand: Command = async (context) => {
  const { output, parsed } = context;
  const { space, path } = parseFilePlace(parsed.operands[0]!);
  const file = parsed.operands[1] ?? nameOf(path);
  const client = openClient(context);
  // The version is asked for first, so that what is read is exactly it, with its time and mode.
  const version = await client.entry(space, path, parsed.given.at);
  const pieces = client.get(space, path, String(version.sequence));
  if (file === "-") {
    const writer = Bun.stdout.writer();
    for await (const piece of pieces) {
      writer.write(piece);
      await writer.flush();
    }
    return EXIT.same;
  }
  const isDirectory = statSync(file, { throwIfNoEntry: false })?.isDirectory() === true;
  const target = isDirectory ? join(file, nameOf(path)) : resolve(file);
  await receive(pieces, target, version);
  output.event({ type: "get", file: target, ...version });
  output.line(`${printablePath(target)}  ${formatBytes(version.size ?? 0)}`);
  return EXIT.same;
};

/** Writes beside the target, makes it durable, and renames over it: nobody sees half a file. */
async function receive(pieces: AsyncIterable<Uint8Array>, target: string, version: VersionJson): Promise<void> {
  const mark = createHash("sha256").update(`${process.pid} ${target}`).digest("hex").slice(0, 12);
  const aside = join(target, "..", `.${basename(target).slice(0, 200)}.${mark}.part`);
  const fd = openSync(aside, "wx", version.mode === undefined ? 0o644 : Number.parseInt(version.mode, 8) & 0o777);
  try {
    let total = 0;
    for await (const piece of pieces) {
      for (let at = 0; at < piece.length; ) at += writeSync(fd, piece, at);
      total += piece.length;
    }
    if (total !== version.size) throw brokenOff(target, total, version.size ?? 0);
    fsyncSync(fd);
    const mtimeSeconds = Date.parse(version.mtime ?? "") / 1000;
    if (!Number.isNaN(mtimeSeconds)) utimesSync(aside, mtimeSeconds, mtimeSeconds);
    renameSync(aside, target);
  } catch (error) {
    rmSync(aside, { force: true });
    throw error;
  } finally {
    closeSync(fd);
  }
}

const brokenOff = (path: string, total: number, size: number): SynclineError =>
  new SynclineError({
    code: "LINK_LOST",
    op: "get",
    path,
    message: `${formatCount(total)} of ${formatCount(size)} bytes came`,
    hint: "run it again",
    retryable: true,
  });

export const rmCommand: Command = async (context) => {
  const { space, path } = parseFilePlace(context.parsed.operands[0]!);
  const recursive = context.parsed.given.recursive ?? false;
  const version = await openClient(context).remove(space, path, { recursive });
  said(context, "rm", version, `removed ${space}:${printablePath(path)}; its history stays`);
  return EXIT.same;
};

export const mvCommand: Command = async (context) => {
  const [source, to] = context.parsed.operands;
  const { space, path } = parseFilePlace(source!);
  requirePath(to!, false);
  const version = await openClient(context).move(space, path, to!);
  said(context, "mv", version, `${space}:${printablePath(path)} is ${printablePath(to!)} now`);
  return EXIT.same;
};

export const cpCommand: Command = async (context) => {
  const [source, to] = context.parsed.operands;
  const { space, path } = parseFilePlace(source!);
  requirePath(to!, false);
  const { version, entries } = await openClient(context).copy(space, path, to!, context.parsed.given.at);
  const words = `${space}:${printablePath(to!)} is a copy of ${printablePath(path)}`;
  said(context, "cp", version, `${words}, ${plural(entries, "entry", "entries")}`);
  return EXIT.same;
};

function said({ output }: Context, type: string, version: VersionJson, line: string): void {
  output.event({ type, ...version });
  output.line(line);
}
