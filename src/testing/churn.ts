/** Random changes of a real directory by somebody else, for tests that follow or scan it meanwhile. */
import { linkSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { SimRandom } from "#testing/sim-random.ts";

const NAMES = ["a", "b", "c", "d"];

/**
 * Does one thing, or nothing where the system refuses it: makes, writes, removes, links and renames, within
 * `root` and to and from `outside`. Few names and depths, so that the doings meet.
 */
export function churn(root: string, random: SimRandom, outside: string): void {
  const some = () => join(root, ...Array.from({ length: 1 + random.int(4) }, () => random.pick(NAMES)));
  const doings: (() => void)[] = [
    () => mkdirSync(some(), { recursive: true }),
    () => writeFileSync(some(), `text ${random.int(1000)}`),
    () => writeFileSync(some(), "t"),
    () => rmSync(some(), { recursive: true }),
    () => renameSync(some(), some()),
    () => renameSync(some(), some()),
    () => linkSync(some(), some()),
    () => renameSync(some(), join(outside, `${random.int(5)}`)),
    () => renameSync(join(outside, `${random.int(5)}`), some()),
    () => {
      const path = some();
      mkdirSync(path, { recursive: true });
      writeFileSync(join(path, random.pick(NAMES)), "quick");
    },
    () => {
      // Renamed and made anew at once.
      const path = some();
      renameSync(path, some());
      mkdirSync(path);
      writeFileSync(join(path, random.pick(NAMES)), "anew");
    },
  ];
  try {
    random.pick(doings)();
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
  }
}
