import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { compareBytes } from "#model/path.ts";
import { SynclineError } from "#model/error.ts";
import { NO_NAME, PAGE_BYTES_MAX, Page, type PageData, PageWriter, isDamaged } from "#sync/index/tree-pages.ts";

type Item = [name: Uint8Array, record: Uint8Array];

function items(page: Page): Item[] {
  return Array.from({ length: page.count }, (_, at) => [page.name(at), page.record(at).slice()]);
}

function reopened(page: Page): Page {
  return new Page(page.view().slice(), page.count);
}

const name = fc.uint8Array({ minLength: 1, maxLength: 3, max: 5 });
/** Sizes of records; a failure shows these instead of thousands of bytes. */
const size = fc.oneof(fc.nat({ max: 4 }), fc.nat({ max: 20_000 }));
const sized = (bytes: number): Uint8Array => new Uint8Array(bytes).fill(bytes & 0xff);

describe("pages", () => {
  test("[STATE-4] a page holds what a sorted map would, after any changes and when read back", () =>
    fc.assert(
      fc.property(fc.array(fc.tuple(name, fc.option(size)), { maxLength: 40 }), (steps) => {
        let page = new Page(NO_NAME, 0);
        const model = new Map<string, Item>();
        for (const [at, [key, value]] of steps.entries()) {
          const position = page.find(key);
          expect(position >= 0).toBe(model.has(key.join()));
          if (value !== null) {
            expect(page.set(key, sized(value))).toBe(position < 0);
            model.set(key.join(), [key, sized(value)]);
          } else if (position >= 0) {
            page.removeAt(position);
            model.delete(key.join());
          }
          if (at % 5 === 4) page = reopened(page);
        }
        const wanted = [...model.values()].toSorted(([a], [b]) => compareBytes(a, b));
        expect(items(page)).toEqual(wanted);
        expect(items(reopened(page))).toEqual(wanted);
        const pieces = page.pieces(NO_NAME);
        expect(pieces.flatMap((piece) => items(new Page(piece.data.slice(), piece.count)))).toEqual(wanted);
        for (const [at, piece] of pieces.entries()) {
          if (piece.count > 1) expect(piece.data.length).toBeLessThanOrEqual(PAGE_BYTES_MAX);
          if (at > 0) expect(new Page(piece.data.slice(), piece.count).name(0)).toEqual(piece.first);
        }
      }),
      { numRuns: 300 },
    ));

  test("[STATE-4] a page above the maximum can shrink", () => {
    let page = new Page(NO_NAME, 0);
    page.set(Uint8Array.of(1), new Uint8Array(30));
    page.set(Uint8Array.of(2), new Uint8Array(2 * PAGE_BYTES_MAX));
    page = reopened(page);
    page.removeAt(0);
    expect(items(page)).toEqual([[Uint8Array.of(2), new Uint8Array(2 * PAGE_BYTES_MAX)]]);
  });

  test("[STATE-4] joined pages are the one after the other", () => {
    const left = new Page(NO_NAME, 0);
    const right = new Page(NO_NAME, 0);
    for (let at = 0; at < 10; at++) (at < 4 ? left : right).set(Uint8Array.of(at), new Uint8Array(at * 30));
    const wanted = [...items(left), ...items(right)];
    left.append(right);
    expect(items(left)).toEqual(wanted);
    expect(left.find(Uint8Array.of(7))).toBe(7);
    left.set(Uint8Array.of(2), Uint8Array.of(1, 2));
    expect(left.record(9).length).toBe(270);
  });

  test("[STATE-4] a writer makes pages that can be read one by one", () => {
    const pages: PageData[] = [];
    const writer = new PageWriter((page) => pages.push({ ...page, data: page.data.slice() }));
    writer.add("lost", new Uint8Array(3));
    writer.reset();
    const names = Array.from({ length: 900 }, (_, at) => `näme-${String(at).padStart(4, "0")}`);
    for (const each of names) writer.add(each, new Uint8Array(100));
    writer.finish();
    expect(pages.length).toBeGreaterThan(2);
    expect(pages[0]!.first).toEqual(NO_NAME);
    const read = pages.flatMap((page) => items(new Page(page.data, page.count)));
    expect(read.map(([each]) => new TextDecoder().decode(each))).toEqual(names);
    for (const page of pages.slice(1)) expect(new Page(page.data, page.count).find(page.first)).toBe(0);
  });

  test("[STATE-11] bytes that are no page are reported as damage", () => {
    const page = new Page(NO_NAME, 0);
    page.set(Uint8Array.of(65), new Uint8Array(200));
    const bytes = page.view().slice();
    const wrong: [Uint8Array, number][] = [
      [bytes, 2],
      [bytes.subarray(0, bytes.length - 1), 1],
      [Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff), 1],
      [Uint8Array.of(0x80), 1],
      [Uint8Array.of(1), 1],
    ];
    for (const [data, count] of wrong) {
      let error: unknown;
      try {
        error = new Page(data, count);
      } catch (caught) {
        error = caught;
      }
      expect(error).toBeInstanceOf(SynclineError);
      expect(isDamaged(error)).toBe(true);
    }
  });
});
