import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Confined } from "#platform/confined.ts";
import type { FileSystem } from "#platform/file-system.ts";
import { openHost } from "#platform/host-bun.ts";
import { ReadAhead } from "#sync/endpoint/read-ahead.ts";

test("[READ-21] once a file had to be waited for, the disk is told of the next ones, each once, in any directory", () => {
  const dir = mkdtempSync(join(tmpdir(), "syncline-ahead-"));
  try {
    const paths = Array.from({ length: 200 }, (_, at) => `d${Math.trunc(at / 50)}/${at % 50}`);
    // The third directory has gone since: whoever reads hears of it.
    for (const name of ["d0", "d1", "d3"]) mkdirSync(join(dir, name));
    for (const path of paths) if (!path.startsWith("d2")) writeFileSync(join(dir, path), path);
    const { fs } = openHost();
    const told: string[] = [];
    const counting = new Proxy(fs, {
      get: (target, key) => {
        const value: unknown = Reflect.get(target, key);
        if (typeof value !== "function") return value;
        return (...given: unknown[]): unknown => {
          if (key === "readAhead") told.push(given[1] as string);
          return (value as (...all: unknown[]) => unknown).apply(target, given);
        };
      },
    }) as FileSystem;
    using root = new Confined(counting, fs.openRoot(dir));
    const ahead = new ReadAhead(root, paths);
    const names = (from: number, to: number): string[] =>
      paths.slice(from, to).filter((path) => !path.startsWith("d2")).map((path) => path.slice(3));
    expect(told).toEqual([]);
    ahead.waitedFor(10);
    expect(told.splice(0)).toEqual(names(11, 75));
    ahead.waitedFor(12);
    expect(told.splice(0)).toEqual(names(75, 77));
    ahead.waitedFor(110);
    expect(told.splice(0)).toEqual(names(111, 175));
    ahead.waitedFor(199);
    expect(told).toEqual([]);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
