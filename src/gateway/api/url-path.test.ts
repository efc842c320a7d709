import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { decodeName, pathFault } from "#model/path.ts";
import { decodeUrlPath, encodeUrlPath, parseQuery, percentEncode, splitUrl } from "#gateway/api/url-path.ts";

const names = fc
  .uint8Array({ minLength: 1, maxLength: 40 })
  .map((bytes) => decodeName(bytes.map((byte) => (byte === 0 || byte === 47 ? 65 : byte))));

describe("paths in URLs", () => {
  test("any bytes of names come back as they were, through a real URL", () => {
    fc.assert(
      fc.property(fc.array(names, { minLength: 1, maxLength: 4 }), (parts) => {
        const path = parts.join("/");
        if (pathFault(path) !== undefined) return;
        const { path: raw } = splitUrl(new Request(`http://hub/${encodeUrlPath(path)}?x=1`).url);
        expect(decodeUrlPath(raw.slice(1))).toBe(path);
        expect(parseQuery(`below=${percentEncode(path)}`)["below"]).toBe(path);
      }),
      { numRuns: 500 },
    );
  });

  test.each(["a%2Fb", "%2e%2e", "a//b", "", "%zz", "a%0", "a%00b", ".syncline", "a/../b"])("%p is refused", (raw) => {
    expect(() => decodeUrlPath(raw)).toThrow(expect.objectContaining({ code: "USAGE" }));
  });

  test("a name of a query that is given twice is refused, and no name reaches the prototype", () => {
    expect(() => parseQuery("a=1&a=2")).toThrow();
    expect(parseQuery("?__proto__=1")["toString"]).toBeUndefined();
  });
});
