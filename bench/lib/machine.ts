/** Where and with what a run was made. */
import { readFileSync } from "node:fs";
import { arch, cpus, loadavg, release, totalmem, type as systemName } from "node:os";
import { relative, resolve } from "node:path";
import { helper } from "./processes.ts";
import { peerVersions } from "./peers.ts";
import { PROGRAM } from "./syncline.ts";

const GIB = 2 ** 30;
const ROOT = resolve(import.meta.dir, "..", "..");

export type RunFacts = {
  readonly processor: string;
  readonly cores: number;
  readonly memoryGib: number;
  readonly kernel: string;
  readonly fileSystem: string;
  /** Load average of the last minute before the first workload: above about 0.5 somebody else was working too. */
  readonly load: number;
  /** What was run, and from which sources. */
  readonly program: string;
  readonly commit: string;
  readonly versions: Readonly<Record<string, string>>;
};

/** @param dir where the data is */
export function runFacts(dir: string): RunFacts {
  return {
    processor: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    memoryGib: Math.round((totalmem() / GIB) * 10) / 10,
    kernel: `${systemName()} ${release()} ${arch()}`,
    fileSystem: fileSystemOf(dir),
    load: Math.round(loadavg()[0]! * 100) / 100,
    program: relative(ROOT, PROGRAM),
    commit: commit(),
    versions: { Bun: Bun.version, ...peerVersions() },
  };
}

/** Type and options of the mount that holds `dir`. */
function fileSystemOf(dir: string): string {
  const mountPoint = helper("stat", "-c", "%m", dir).trim();
  const mounts = readFileSync("/proc/mounts", "utf8").split("\n").map((line) => line.split(" "));
  const mount = mounts.findLast(([, point]) => point === mountPoint);
  return mount === undefined ? "unknown" : `${mount[2]} (${mount[3]})`;
}

function commit(): string {
  try {
    const id = helper("git", "-C", ROOT, "rev-parse", "--short", "HEAD").trim();
    const changed = helper("git", "-C", ROOT, "status", "--porcelain", "--untracked-files=no").trim();
    return changed === "" ? id : `${id} and uncommitted changes`;
  } catch {
    return "unknown";
  }
}
