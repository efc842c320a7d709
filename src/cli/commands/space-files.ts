/** `syncline ls`, `put`, `get`, `rm`, `mkdir`, `mv` and `cp`: files of a space on a hub. */
import { type BigIntStats, fstatSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import type { SynclineError } from "#model/error.ts";
import { nameOf, printablePath } from "#model/path.ts";
import type { HubClient } from "#gateway/client/hub-client.ts";
import { openHost } from "#platform/host-bun.ts";
import { type VersionJson, fileTimeText } from "#gateway/api/shapes.ts";
import type { Command, Context } from "#cli/context.ts";
import { EXIT } from "#cli/exit-code.ts";
import { formatBytes, formatCount, plural, tableLines } from "#cli/format.ts";
import { type Place, openClient, parseFilePlace, parsePlace, parseTarget } from "#cli/hub-client.ts";
import { fetchFile, writeWhole } from "#cli/fetch-file.ts";
import { Persistence } from "#cli/persistence.ts";
import { UPLOAD_FROM_BYTES, readStill, uploadFile } from "#cli/upload-file.ts";
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

function row({ path, kind, size, mode, mtime, sequence, target, encrypted }: VersionJson): string[] {
  const name = printablePath(path) + (kind === "dir" ? "/" : encrypted === undefined ? "" : "  (encrypted)");
  const shown = target === undefined ? name : `${name} -> ${printablePath(target)}`;
  return [mode ?? "", size === undefined ? "-" : formatCount(size), mtime?.slice(0, 19) ?? "", `#${sequence}`, shown];
}

export const putCommand: Command = async (context) => {
  const [file, text] = context.parsed.operands;
  const { space, path } = parseFilePlace(text!);
  const client = openClient(context);
  const isLater = context.parsed.given.async ?? false;
  if (file === "-" && isLater) throw usage("--async takes a file, not standard input", "write it to a file first, or leave --async out");
  const isLarge = file !== "-" && (isLater || statSync(readable(file!)).size >= UPLOAD_FROM_BYTES);
  if (isLarge) return putLarge(context, client, file!, { space, path });
  const version = await (file === "-" ? client.put(space, path, Bun.stdin.stream()) : putSmall(client, file!, { space, path }));
  context.output.event({ type: "put", ...version });
  context.output.line(putLine(space, version));
  return EXIT.same;
};

function putSmall(client: HubClient, file: string, { space, path }: Place): Promise<VersionJson> {
  const { bytes, stamps } = readStill(file, (fd) => stampsOf(fstatSync(fd, { bigint: true })));
  return client.put(space, path, bytes, stamps);
}

const putLine = (space: string, { path, size = 0, sequence }: VersionJson): string =>
  `${space}:${printablePath(path)}  ${formatBytes(size)}  sequence ${sequence}`;

async function putLarge(context: Context, client: HubClient, file: string, to: Place): Promise<number> {
  const { output, signal } = context;
  const steps = { onBytes: showing(context, "put", statSync(file).size), onTrouble: telling(context) };
  const how = { ...stampsOf(statSync(readable(file), { bigint: true })), isLater: context.parsed.given.async ?? false };
  const { came, sent } = await uploadFile(client, file, to, how, openHost(), steps, signal);
  if ("job" in came) {
    const { id, state } = came.job;
    output.event({ type: "accepted", job: id, state, space: to.space, path: to.path, sent });
    output.line(`${to.space}:${printablePath(to.path)}  accepted, not stored yet: syncline jobs show ${id}`);
    return EXIT.same;
  }
  const { version } = came;
  output.event({ type: "put", ...version, sent });
  const spared = (version.size ?? 0) - sent;
  output.line(`${putLine(to.space, version)}${spared === 0 ? "" : `  ${formatBytes(sent)} sent, the hub had ${formatBytes(spared)}`}`);
  return EXIT.same;
}

/** Draws how far it is. */
function showing({ output }: Context, label: string, bytesTotal: number | undefined): (done: number) => void {
  return (bytes) => output.progress.update({ label, done: 0, total: undefined, bytes, bytesTotal });
}

/** The hub cannot be reached, and is asked again. */
function telling({ output }: Context): (error: SynclineError) => void {
  let isTold = false;
  return ({ message }) => {
    if (isTold) return;
    isTold = true;
    output.warn(`${message}; trying again`);
  };
}

function readable(file: string): string {
  if (statSync(file, { throwIfNoEntry: false })?.isFile() === true) return file;
  throw usage(`${file} is not a file`, "put takes one file; syncline agent keeps directories");
}

function stampsOf({ mtimeNs, mode }: Pick<BigIntStats, "mtimeNs" | "mode">): { mtime: string; mode: string } {
  return { mtime: fileTimeText(mtimeNs), mode: (Number(mode) & 0o7777).toString(8).padStart(4, "0") };
}

export const getCommand: Command = async (context) => {
  const { output, parsed } = context;
  const { space, path } = (parsed.given.archive === undefined ? parseFilePlace : parsePlace)(parsed.operands[0]!);
  const file = parsed.operands[1] ?? nameOf(path);
  const client = openClient(context);
  const { archive } = parsed.given;
  if (archive !== undefined) return getArchive(context, client, { space, path }, archive);
  // The version is asked for first, so that what is read is exactly it, with its time and mode.
  const version = await client.entry(space, path, parsed.given.at);
  requireFile(space, version);
  const pieces = (from: number) => client.get(space, path, String(version.sequence), from);
  if (file === "-") {
    await toStandardOutput(pieces(0));
    return EXIT.same;
  }
  const isDirectory = statSync(file, { throwIfNoEntry: false })?.isDirectory() === true;
  const target = isDirectory ? join(file, nameOf(path)) : resolve(file);
  const keep = new Persistence(openHost().clock, context.signal, telling(context));
  await fetchFile(pieces, target, version, keep, showing(context, "get", version.size ?? 0));
  output.event({ type: "get", file: target, ...version });
  output.line(`${printablePath(target)}  ${formatBytes(version.size ?? 0)}`);
  return EXIT.same;
};

/** Only a file has bytes to write: an empty file in the place of a directory would be a wrong answer. */
function requireFile(space: string, { path, kind, target }: VersionJson): void {
  if (kind === "file") return;
  const place = `${space}:${printablePath(path)}`;
  if (kind === "dir") throw usage(`${place} is a directory`, `syncline ls ${place} lists it; --archive zip or tar fetches all of it`);
  throw usage(`${place} is a symbolic link to ${printablePath(target ?? "")}`, "name the file that it leads to");
}

/** It is made while it is sent, so it cannot be gone on with: what breaks off is not kept. */
async function getArchive(context: Context, client: HubClient, { space, path }: Place, format: string): Promise<number> {
  const { output, parsed } = context;
  if (parsed.given.at !== undefined) throw usage("an archive is of what is there now", "leave --at out");
  const file = parsed.operands[1] ?? `${path === "" ? space : nameOf(path)}.${format}`;
  const pieces = client.archive(space, path, format);
  if (file === "-") {
    await toStandardOutput(pieces);
    return EXIT.same;
  }
  const size = await writeWhole(pieces, resolve(file), showing(context, "get", undefined));
  output.event({ type: "get", file: resolve(file), format, size });
  output.line(`${printablePath(resolve(file))}  ${formatBytes(size)}`);
  return EXIT.same;
}

async function toStandardOutput(pieces: AsyncIterable<Uint8Array>): Promise<void> {
  const writer = Bun.stdout.writer();
  try {
    for await (const piece of pieces) {
      await writer.write(piece);
      await writer.flush();
    }
  } catch (error) {
    // The reader has enough (`syncline get … - | head`).
    if (!(error instanceof Error && "code" in error && error.code === "EPIPE")) throw error;
  }
}

export const rmCommand: Command = async (context) => {
  const { space, path } = parseFilePlace(context.parsed.operands[0]!);
  const recursive = context.parsed.given.recursive ?? false;
  const version = await openClient(context).remove(space, path, { recursive });
  said(context, "rm", version, `removed ${space}:${printablePath(path)}; its history stays`);
  return EXIT.same;
};

export const mkdirCommand: Command = async (context) => {
  const { space, path } = parseFilePlace(context.parsed.operands[0]!);
  const version = await openClient(context).mkdir(space, path);
  said(context, "mkdir", version, `made ${space}:${printablePath(path)}/`);
  return EXIT.same;
};

export const mvCommand: Command = async (context) => {
  const [source, target] = context.parsed.operands;
  const { space, path } = parseFilePlace(source!);
  const to = parseTarget(target!, space);
  const version = await openClient(context).move(space, path, to);
  said(context, "mv", version, `${space}:${printablePath(path)} is ${printablePath(to)} now`);
  return EXIT.same;
};

export const cpCommand: Command = async (context) => {
  const [source, target] = context.parsed.operands;
  const { space, path } = parseFilePlace(source!);
  const to = parseTarget(target!, space);
  const { version, entries } = await openClient(context).copy(space, path, to, context.parsed.given.at);
  const words = `${space}:${printablePath(to)} is a copy of ${printablePath(path)}`;
  said(context, "cp", version, `${words}, ${plural(entries, "entry", "entries")}`);
  return EXIT.same;
};

function said({ output }: Context, type: string, version: VersionJson, line: string): void {
  output.event({ type, ...version });
  output.line(line);
}
