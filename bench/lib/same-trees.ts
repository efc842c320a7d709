/** Is the destination really what the source is? Asked of a program that is neither ours nor the peer. */
import { WrongResult } from "./workload.ts";

/** Our private folder in a root, and what Syncthing leaves in one. */
const OWN_FILES = [".syncline", ".stfolder", ".stignore", ".stversions"];
const LINES_QUOTED_MAX = 5;

/**
 * Compares names, types and contents with diff(1).
 *
 * @throws {WrongResult} naming the first differences
 */
export function requireSameTrees(who: string, source: string, destination: string): void {
  const exclude = OWN_FILES.flatMap((name) => ["-x", name]);
  const done = Bun.spawnSync(["diff", "-rq", "--no-dereference", ...exclude, source, destination], {
    stdin: "ignore", stdout: "pipe", stderr: "pipe", env: { ...process.env, LC_ALL: "C.UTF-8" },
  });
  if (done.exitCode === 0) return;
  const lines = (done.stdout.toString() + done.stderr.toString()).trimEnd().split("\n");
  throw new WrongResult(`${who} left differences:\n${lines.slice(0, LINES_QUOTED_MAX).join("\n")}`);
}
