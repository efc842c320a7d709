import { describe, expect, test } from "bun:test";
import type { Entry } from "#model/entry.ts";
import { type RelPath, comparePaths } from "#model/path.ts";
import { FirstListing, LISTED_MAX } from "#sync/endpoint/first-listing.ts";

const file = (size: number): Entry => ({ kind: "file", size, mode: 0o644, mtimeNs: 1n, sum: undefined });
const dir: Entry = { kind: "dir", mode: 0o755 };

describe("first listing", () => {
  test("[SCAN-41] what a first scan found is told in path order, however it was found", () => {
    // As a walk does: directory by directory, the deepest in no order, and names as the disk lists them.
    const found: [RelPath, Entry][] = [
      ["b", dir], ["a.txt", file(1)], ["a", dir], ["\u{1f600}", file(2)], ["\uffee", file(3)],
      ["b/x", file(4)], ["b/d", dir], ["a/z", file(5)], ["a/y", dir], ["b/d/e", file(6)],
    ];
    const listing = new FirstListing();
    for (const [path, entry] of found) listing.add(path, entry);
    const told = [...(listing.batches(found.length) ?? [])].flat();
    const wanted = found.toSorted(([a], [b]) => comparePaths(a, b));
    expect(told).toEqual(wanted.map(([path, entry]) => ({ state: "present", path, entry })));
  });

  test("[SCAN-41] a listing that is not all of the index, or has something twice, or is too large, is none", () => {
    const twice = new FirstListing();
    twice.add("a", file(1));
    twice.add("a", file(2));
    expect(twice.batches(1)).toBeUndefined();
    const part = new FirstListing();
    part.add("a", file(1));
    expect(part.batches(2)).toBeUndefined();
    const large = new FirstListing();
    for (let at = 0; at <= LISTED_MAX; at++) large.add(`${at}`, dir);
    expect(large.batches(LISTED_MAX + 1)).toBeUndefined();
  });
});
