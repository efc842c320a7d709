import { expect, test } from "bun:test";
import { pagesTouched } from "#platform/linux/cached-read.ts";

test("[FS-50] the cache is counted in the kernel's own pages", () => {
  const stretches = [
    { position: 0, length: 1, pages: [1, 1, 1] },
    { position: 4095, length: 2, pages: [2, 1, 1] },
    { position: 0, length: 65_536, pages: [16, 4, 1] },
    { position: 16_383, length: 16_386, pages: [6, 3, 1] },
    { position: 61_440, length: 8192, pages: [2, 2, 2] },
  ];
  for (const { position, length, pages } of stretches) {
    expect([4096, 16_384, 65_536].map((pageBytes) => pagesTouched(position, length, pageBytes))).toEqual(pages);
  }
});
