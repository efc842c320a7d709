import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Version } from "#hub/space.ts";
import {
  RANGES_MAX,
  expectedSha256,
  parseRanges,
  rangeApplies,
  readCondition,
  tagMatches,
} from "#gateway/api/conditions.ts";
import { fileTimeText, parseFileTime } from "#gateway/api/shapes.ts";
import { httpDateMs, passedMs } from "#platform/net/http-date.ts";

const ID = "ab".repeat(32);
const MTIME = "2026-11-20T10:00:00.5Z";
const version = {
  path: "a",
  sequence: 3,
  entry: { kind: "file", size: 10, mode: 0o644, mtimeNs: parseFileTime(MTIME), sum: undefined },
  content: { id: ID, size: 10 },
  vector: {},
} as unknown as Version;

const condition = (headers: Record<string, string>) => readCondition(new Headers(headers), version);

describe("conditions", () => {
  test("[API-8] tags decide before times do, strong ones for If-Match", () => {
    expect(condition({ "if-none-match": `"x", "${ID}"` })).toBe("not-modified");
    expect(condition({ "if-none-match": `W/"${ID}"` })).toBe("not-modified");
    expect(condition({ "if-match": `W/"${ID}"` })).toBe("failed");
    expect(condition({ "if-match": `"${ID}"` })).toBe("send");
    expect(condition({ "if-match": "*" })).toBe("send");
    const since = "Fri, 20 Nov 2026 10:00:00 GMT";
    expect(condition({ "if-modified-since": since })).toBe("not-modified");
    expect(condition({ "if-modified-since": since, "if-none-match": '"x"' })).toBe("send");
    expect(condition({ "if-modified-since": "nonsense" })).toBe("send");
    expect(condition({ "if-unmodified-since": "Fri, 20 Nov 2026 09:59:59 GMT" })).toBe("failed");
  });

  test("[API-50] a date has one of three forms, all of them UTC, and anything else is none", () => {
    const asked = (date: string) => [condition({ "if-modified-since": date }), condition({ "if-unmodified-since": date })];
    for (const [same, before] of [
      ["Fri, 20 Nov 2026 10:00:00 GMT", "Fri, 20 Nov 2026 09:59:59 GMT"],
      ["Friday, 20-Nov-26 10:00:00 GMT", "Friday, 20-Nov-26 09:59:59 GMT"],
      ["Fri Nov 20 10:00:00 2026", "Fri Nov 20 09:59:59 2026"],
    ] as const) {
      expect([same, ...asked(same)]).toEqual([same, "not-modified", "send"]);
      expect([before, ...asked(before)]).toEqual([before, "send", "failed"]);
    }
    for (const none of ["5", "2027", "2027-01-01", "Fri, 20 Nov 2026 10:00:00", ""]) expect([none, ...asked(none)]).toEqual([none, "send", "send"]);
    expect(httpDateMs("Sun Nov  6 08:49:37 1994")).toBe(Date.parse("1994-11-06T08:49:37Z"));
  });

  test("[API-51] whatever a file's time is, what Last-Modified says of it is not modified since", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(10n ** 19n), max: 10n ** 19n }), (mtimeNs) => {
        const at = { ...version, entry: { ...version.entry, mtimeNs } } as Version;
        const date = new Date(passedMs(mtimeNs)).toUTCString();
        expect(readCondition(new Headers({ "if-modified-since": date }), at)).toBe("not-modified");
        expect(readCondition(new Headers({ "if-unmodified-since": date }), at)).toBe("send");
        expect(rangeApplies(new Headers({ "if-range": date }), at)).toBe(true);
        expect(fileTimeText(mtimeNs).slice(0, 19)).toBe(new Date(date).toISOString().slice(0, 19));
      }),
      { examples: [[-1n], [-1_000_000_001n], [-500_000_000n], [0n]] },
    );
  });

  test("[API-8] a tag is the whole of what stands in quotes", () => {
    expect(tagMatches('"a,b"', '"a,b"', false)).toBe(true);
    expect(tagMatches('"a"', '"a,b"', false)).toBe(false);
    expect(tagMatches("*", undefined, false)).toBe(true);
  });

  test("[API-4] If-Range with other content sends everything", () => {
    expect(rangeApplies(new Headers({ "if-range": `"${ID}"` }), version)).toBe(true);
    expect(rangeApplies(new Headers({ "if-range": '"x"' }), version)).toBe(false);
    expect(rangeApplies(new Headers({ "if-range": `W/"${ID}"` }), version)).toBe(false);
  });
});

describe("ranges", () => {
  test.each([
    ["bytes=0-3", [[0, 4]]],
    ["bytes=5-", [[5, 10]]],
    ["bytes=-3", [[7, 10]]],
    ["bytes=-99", [[0, 10]]],
    ["bytes=8-99", [[8, 10]]],
    ["bytes=0-0, 9-9", [[0, 1], [9, 10]]],
    ["bytes=10-", []],
    ["bytes=-0", []],
    ["bytes=3-2", undefined],
    ["lines=0-1", undefined],
    ["bytes=a-b", undefined],
    ["bytes=0-9,0-9", undefined],
  ])("[API-4] %s", (header, expected) => {
    const found = parseRanges(header, 10);
    expect(found?.map(({ start, end }) => [start, end])).toEqual(expected as number[][]);
  });

  test("[API-4] more ranges than are answered send everything", () => {
    const many = Array.from({ length: RANGES_MAX + 1 }, (_, at) => `${at}-${at}`).join(",");
    expect(parseRanges(`bytes=${many}`, 1000)).toBeUndefined();
  });
});

test("[API-5] digests are read in both notations", () => {
  const digest = Bun.SHA256.hash("x") as Uint8Array;
  const base64 = Buffer.from(digest).toString("base64");
  const hex = Buffer.from(digest).toString("hex");
  expect(expectedSha256(new Headers({ "content-digest": `sha-512=:AA==:, sha-256=:${base64}:` }))).toBe(hex);
  expect(expectedSha256(new Headers({ digest: `sha-256=${base64}` }))).toBe(hex);
  expect(expectedSha256(new Headers({ digest: "sha-256=AAAA" }))).toBe("invalid");
  expect(expectedSha256(new Headers({ digest: "md5=AAAA" }))).toBeUndefined();
});

test("[API-6] times of files keep their nanoseconds, before 1970 too", () => {
  for (const text of ["2026-11-20T23:59:07.123456789Z", "1969-12-31T23:59:59.999999999Z", "2026-01-01T00:00:00Z"]) {
    expect(fileTimeText(parseFileTime(text))).toBe(text);
  }
});

test("[API-52] a day that there is not is no time of a file", () => {
  for (const text of ["2026-02-29T00:00:00Z", "2026-02-30T00:00:00Z", "2026-04-31T12:00:00Z", "2026-01-01T24:00:00Z"]) {
    expect(() => parseFileTime(text)).toThrow("is no time");
  }
  expect(parseFileTime("2024-02-29T00:00:00Z")).toBe(1_709_164_800_000_000_000n);
});
