import { describe, expect, test } from "bun:test";
import type { Entry } from "#model/entry.ts";
import { type RelPath, comparePaths } from "#model/path.ts";
import { FirstListing, LISTED_MAX } from "#sync/endpoint/first-listing.ts";

const file = (size: number): Entry => ({ kind: "file", size, mode: 0o644, mtimeNs: 1n, sum: undefined });
const dir: Entry = { kind: "dir", mode: 0o755 };

/** As a walk does: directory by directory, and names as the disk lists them. */
const FOUND: readonly [RelPath, Entry][] = [
  ["b", dir], ["a.txt", file(1)], ["a", dir], ["\u{1f600}", file(2)], ["\uffee", file(3)],
  ["b/x", file(4)], ["b/d", dir], ["a/z", file(5)], ["a/y", dir], ["b/d/e", file(6)],
];
const told = (batches: Iterable<readonly { path: RelPath }[]> | undefined): RelPath[] => [...(batches ?? [])].flat().map(({ path }) => path);

describe("first listing", () => {
  test("[SCAN-41] what a first scan found is told in path order, however it was found", () => {
    const listing = new FirstListing();
    for (const [path, entry] of FOUND) listing.add(path, entry);
    const all = [...(listing.rest(FOUND.length) ?? [])].flat();
    const wanted = FOUND.toSorted(([a], [b]) => comparePaths(a, b));
    expect(all).toEqual(wanted.map(([path, entry]) => ({ state: "present", path, entry })));
  });

  test("[SCAN-49] it is told while the scan looks on, up to the first directory that has not been listed", () => {
    const listing = new FirstListing();
    const list = (of: RelPath): void => {
      for (const [path, entry] of FOUND) if (path.slice(0, Math.max(0, path.lastIndexOf("/"))) === of) listing.add(path, entry);
      expect(told(listing.ready())).toEqual([]);
      listing.whole(of);
    };
    list("");
    // Nothing of a directory is told before it is known that it could be listed.
    expect(told(listing.ready())).toEqual([]);
    list("a");
    expect(told(listing.ready())).toEqual(["a"]);
    list("b");
    expect(told(listing.ready())).toEqual([]);
    list("a/y");
    expect(told(listing.ready())).toEqual(["a/y", "a/z", "a.txt", "b"]);
    expect(listing.last).toBe("b");
    expect(told(listing.rest(FOUND.length - 1))).toEqual(["b/d", "b/x", "\uffee", "\u{1f600}"]);
  });

  test("[SCAN-41] a listing that is not all of the index, or has something twice, or is too large, is none", () => {
    const twice = new FirstListing();
    twice.add("a", file(1));
    twice.add("a", file(2));
    expect(twice.rest(1)).toBeUndefined();
    const part = new FirstListing();
    part.add("a", file(1));
    expect(part.rest(2)).toBeUndefined();
    const large = new FirstListing();
    for (let at = 0; at <= LISTED_MAX; at++) large.add(`${at}`, dir);
    large.whole("");
    expect(told(large.ready())).toEqual([]);
    expect(large.rest(LISTED_MAX + 1)).toBeUndefined();
  });

  test("[SCAN-49] what was told is not kept: a listing of any size is told as it grows", () => {
    const listing = new FirstListing();
    const half = LISTED_MAX / 2;
    for (let at = 0; at < half; at++) listing.add(String(at).padStart(6, "0"), file(1));
    listing.add("~", dir);
    listing.whole("");
    expect(told(listing.ready()).length).toBe(half);
    for (let at = 0; at < LISTED_MAX - 1; at++) listing.add(`~/${String(at).padStart(6, "0")}`, file(1));
    listing.whole("~");
    expect(told(listing.ready()).length).toBe(LISTED_MAX);
    expect(told(listing.rest(half + LISTED_MAX))).toEqual([]);
  });
});
