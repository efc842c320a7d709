/** The manifest form of `syncline verify`. */
import { basename, dirname, relative, resolve } from "node:path";
import type { Context } from "#cli/context.ts";
import { openHost } from "#cli/engine.ts";
import { EXIT } from "#cli/exit-code.ts";
import { formatBytes, plural } from "#cli/format.ts";
import { SynclineError } from "#model/error.ts";
import { printablePath } from "#model/path.ts";
import { Confined } from "#platform/confined.ts";
import { type Fd, type FileSystem, FsError, unlinkIfThere } from "#platform/file-system.ts";
import { checkManifest, writeManifest } from "#sync/verify/check-manifest.ts";
import { HashPool } from "#sync/verify/hash-pool.ts";
import { readManifest } from "#sync/verify/manifest.ts";

const READ_BYTES = 256 << 10;

export async function verifyManifest(
  context: Context,
  file: string,
  dir: string,
  write: boolean,
): Promise<number> {
  const { fs } = await openHost();
  using root = new Confined(fs, openDirectory(fs, dir));
  using pool = new HashPool(root, resolve(dir));
  const manifestDir = openDirectory(fs, dirname(resolve(file)));
  try {
    return write
      ? await writeTo(context, root, pool, manifestDir, file, dir)
      : await check(context, root, pool, manifestDir, file);
  } finally {
    fs.close(manifestDir);
  }
}

function openDirectory(fs: FileSystem, path: string): Fd {
  try {
    return fs.openRoot(resolve(path));
  } catch (cause) {
    if (!(cause instanceof FsError)) throw cause;
    throw new SynclineError({
      code: "ROOT_MISSING",
      op: "open directory",
      path,
      message: `cannot open ${printablePath(path)}: ${cause.message}`,
      hint: "name an existing directory",
      cause,
    });
  }
}

async function writeTo(
  context: Context,
  root: Confined,
  pool: HashPool,
  at: Fd,
  file: string,
  dir: string,
): Promise<number> {
  const { output, signal } = context;
  const { fs } = root;
  const name = basename(resolve(file));
  const inside = relative(resolve(dir), resolve(file));
  const skip = inside.startsWith("..") || inside === "" ? undefined : inside;
  // Written aside and renamed, so that a broken-off run leaves the old manifest.
  const aside = `${name}.${process.pid}.new`;
  // In a container every life has the same number: one that was killed here may have left it.
  unlinkIfThere(fs, at, aside);
  const fd = fs.create(at, aside, 0o644);
  let position = 0;
  try {
    const totals = await writeManifest(
      root,
      pool,
      skip,
      (bytes) => {
        fs.write(fd, bytes, position);
        position += bytes.length;
      },
      (path, { files, bytes }) =>
        output.progress.update({
          label: "hashing",
          done: files,
          total: undefined,
          bytes,
          bytesTotal: undefined,
          path,
        }),
      (problem) => output.problem(problem),
      signal,
    );
    await fs.sync(fd);
    fs.rename(at, aside, at, name, { replace: true });
    output.event({ type: "manifest", files: totals.files, bytes: totals.bytes, problems: totals.problems });
    output.line(`${plural(totals.files, "file")}, ${formatBytes(totals.bytes)} → ${printablePath(file)}`);
    return totals.problems > 0 ? EXIT.problems : EXIT.same;
  } catch (error) {
    fs.unlink(at, aside);
    throw error;
  } finally {
    fs.close(fd);
  }
}

async function check(context: Context, root: Confined, pool: HashPool, at: Fd, file: string): Promise<number> {
  const { output, signal } = context;
  const { green, red } = output.screen.paint;
  const totals = await checkManifest(
    pool,
    readManifest(readPieces(root.fs, at, basename(resolve(file)))),
    (verdict, { files, bytes }) => {
      if (verdict.verdict === "same") {
        output.progress.update({
          label: "checking",
          done: files,
          total: undefined,
          bytes,
          bytesTotal: undefined,
          path: verdict.path,
        });
        if (output.form.verbose) output.line(`${printablePath(verdict.path)}: OK`);
        return;
      }
      output.event({ type: "difference", finding: verdict.verdict, path: verdict.path });
      const note = verdict.verdict === "unreadable" ? ` (${verdict.problem.message})` : "";
      if (output.forPeople) output.answer(`${printablePath(verdict.path)}: ${red(verdict.verdict)}${note}`);
    },
    (number, fault) => output.warn(`${printablePath(file)}, line ${number}: ${fault}`),
    signal,
  );
  output.event({ type: "manifest", files: totals.files, bytes: totals.bytes, problems: totals.problems });
  const verdict = totals.problems === 0 ? green("same") : red("not the same");
  output.line(
    `${verdict}: ${plural(totals.files, "file")} as recorded, ${plural(totals.problems, "problem")} · ${formatBytes(totals.bytes)} read`,
  );
  return totals.problems > 0 ? EXIT.problems : EXIT.same;
}

async function* readPieces(fs: FileSystem, dir: Fd, name: string): AsyncGenerator<Uint8Array> {
  let fd: Fd;
  try {
    fd = fs.openRead(dir, name);
  } catch (cause) {
    if (!(cause instanceof FsError)) throw cause;
    throw new SynclineError({
      code: "USAGE",
      op: "open manifest",
      message: `--manifest: ${cause.message}`,
      hint: "make one with --write",
      cause,
    });
  }
  try {
    const buffer = new Uint8Array(READ_BYTES);
    for (let position = 0; ;) {
      const count = await fs.readAsync(fd, buffer, position);
      if (count === 0) return;
      position += count;
      yield buffer.subarray(0, count);
    }
  } finally {
    fs.close(fd);
  }
}
