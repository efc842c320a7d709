/** Writes and checks manifests of a directory tree. Files are reported in order; memory is bounded. */
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import type { Confined } from "#platform/confined.ts";
import type { HashPool } from "#sync/verify/hash-pool.ts";
import { type Hashed, problemAt, walkFiles } from "#sync/verify/hash-tree.ts";
import { type ManifestLine, formatManifestLine } from "#sync/verify/manifest.ts";

/** Lines are collected to this size before they are handed on. */
const WRITE_BYTES = 64 << 10;

export type Verdict =
  | { readonly path: RelPath; readonly verdict: "same"; readonly size: number }
  | { readonly path: RelPath; readonly verdict: "differs"; readonly size: number }
  | { readonly path: RelPath; readonly verdict: "missing" }
  | { readonly path: RelPath; readonly verdict: "unreadable"; readonly problem: Problem };

export type ManifestTotals = { files: number; bytes: number; problems: number };

/**
 * Hashes every file below `root` and hands the lines on in path order.
 *
 * @param skip a path to leave out: the manifest itself, when it lies in the tree
 * @param write gets pieces of the manifest; the bytes belong to it
 */
export async function writeManifest(
  root: Confined,
  pool: HashPool,
  skip: RelPath | undefined,
  write: (bytes: Uint8Array) => void,
  onFile: (path: RelPath, totals: ManifestTotals) => void,
  onProblem: (problem: Problem) => void,
  signal: AbortSignal,
): Promise<ManifestTotals> {
  const totals: ManifestTotals = { files: 0, bytes: 0, problems: 0 };
  const fail = (problem: Problem): void => {
    totals.problems++;
    onProblem(problem);
  };
  let lines: Uint8Array[] = [];
  let lineBytes = 0;
  const flush = (): void => {
    if (lineBytes > 0) write(concat(lines, lineBytes));
    lines = [];
    lineBytes = 0;
  };
  const paths = walkFiles(root, fail).filter((path) => path !== skip);
  for await (const { item: path, hashed } of pool.inOrder(paths, (one) => one, signal)) {
    if (hashed === undefined) continue;
    if ("code" in hashed) {
      fail(hashed);
      continue;
    }
    const line = formatManifestLine({ path, sha256: hashed.sha256 });
    lines.push(line);
    lineBytes += line.length;
    totals.files++;
    totals.bytes += hashed.size;
    onFile(path, totals);
    if (lineBytes >= WRITE_BYTES) flush();
  }
  flush();
  return totals;
}

/**
 * Compares the files named in a manifest with those in the root of `pool`. Files that the manifest does not name are not looked
 * at, as with `sha256sum -c`.
 */
export async function checkManifest(
  pool: HashPool,
  lines: AsyncIterable<ManifestLine>,
  onVerdict: (verdict: Verdict, totals: ManifestTotals) => void,
  onFault: (number: number, fault: string) => void,
  signal: AbortSignal,
): Promise<ManifestTotals> {
  const totals: ManifestTotals = { files: 0, bytes: 0, problems: 0 };
  const pathOf = (line: ManifestLine): RelPath | undefined => ("fault" in line ? undefined : line.entry.path);
  for await (const { item: line, hashed } of pool.inOrder(lines, pathOf, signal)) {
    if ("fault" in line) {
      totals.problems++;
      onFault(line.number, line.fault);
      continue;
    }
    if (hashed === undefined) continue;
    const verdict = judge(line.entry.path, line.entry.sha256, hashed);
    if (verdict.verdict === "same") totals.files++;
    else totals.problems++;
    if ("size" in verdict) totals.bytes += verdict.size;
    onVerdict(verdict, totals);
  }
  return totals;
}

function judge(path: RelPath, sha256: string, hashed: Hashed | Problem): Verdict {
  if (!("code" in hashed))
    return { path, verdict: hashed.sha256 === sha256 ? "same" : "differs", size: hashed.size };
  if (hashed.code === "ENOENT" || hashed.code === "ENOTDIR") return { path, verdict: "missing" };
  return {
    path,
    verdict: "unreadable",
    problem: problemAt(path, hashed.code, hashed.message, hashed.transient),
  };
}

function concat(parts: readonly Uint8Array[], bytes: number): Uint8Array {
  const all = new Uint8Array(bytes);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
