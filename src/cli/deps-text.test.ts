import { expect, test } from "bun:test";
import { compareHosts, differenceLines, foldHosts } from "#cli/deps-text.ts";
import { makePaint } from "#cli/screen.ts";

const one = (name: string, version: string) => ({ ecosystem: "npm", name, version, integrity: "", source: "" }) as const;

test("[DEPS-20] hosts are folded, and compared with what most of them have", () => {
  expect(foldHosts(["web10", "web2", "web3", "db", "web4", "a07", "a08", "a09", "x1"])).toBe("a[07-09], db, web[2-4], web10, x1");
  const { usual, others } = compareHosts([
    { hosts: ["db"], list: [one("a", "2")] },
    { hosts: ["web2", "web1", "web3"], list: [one("a", "1"), one("b", "1")] },
  ]);
  expect(usual).toEqual(["web2", "web1", "web3"]);
  expect(differenceLines(others[0]!, usual, makePaint(false))).toEqual([
    "  db against web[1-3]", "    version  a 2, usually 1", "    missing  b 1",
  ]);
});
