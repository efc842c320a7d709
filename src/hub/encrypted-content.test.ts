import { expect, test } from "bun:test";
import fc from "fast-check";
import { attributesFault } from "#hub/attributes.ts";
import {
  ENCRYPTED, type EncryptedPart, OPENER_BYTES, encryptionOf, encryptionText, storedBytes, storedPartBytes,
} from "#hub/encrypted-content.ts";

const partsArb = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 3 }), fc.constantFrom(0, 5, 5_242_880, 5 * 2 ** 30)), { minLength: 1, maxLength: 40 })
  .map((steps) => {
    let number = 0;
    return steps.map(([step, size]): EncryptedPart => ({ number: (number += step), size }));
  });
const openerArb = fc.uint8Array({ minLength: OPENER_BYTES, maxLength: OPENER_BYTES });
const sumsArb = fc.dictionary(fc.constantFrom("crc32", "sha256"), fc.constantFrom("AAAA", "AAAA-3", "a+/="), { noNullPrototype: true });

test("[SSEC-7] what a version says of its encryption is read as it was written", () => {
  fc.assert(
    fc.property(openerArb, partsArb, sumsArb, (opener, parts, sums) => {
      const attributes = { [ENCRYPTED]: encryptionText({ opener, parts, sums }) };
      expect(attributesFault(attributes)).toBeUndefined();
      const read = encryptionOf({ attributes })!;
      expect(read.parts).toEqual(parts);
      expect(read.sums).toEqual(sums);
      expect(Buffer.compare(read.opener, opener)).toBe(0);
      const size = parts.reduce((sum, part) => sum + part.size, 0);
      const stored = parts.reduce((sum, part) => sum + storedPartBytes(part.size), 0);
      expect(storedBytes({ kind: "file", size, mode: 0o644, mtimeNs: 0n, sum: undefined }, attributes)).toBe(stored);
    }),
  );
  const parts = Array.from({ length: 10_000 }, (_, at) => ({ number: at + 1, size: 8 << 20 }));
  expect(encryptionText({ opener: new Uint8Array(OPENER_BYTES), parts, sums: {} }).length).toBeLessThan(200);
});

test("[SSEC-8] whatever else stands there is refused, and never read as something", () => {
  const good = encryptionText({ opener: new Uint8Array(OPENER_BYTES), parts: [{ number: 1, size: 5 }], sums: {} });
  const [, opener] = good.split(" ");
  const bad = [
    "", "1", `2 ${opener} 5`, `1 ${opener}`, `1 ${opener} `, `1 ${opener} 5,`, `1 ${opener} -5`, `1 ${opener} 5x0`, `1 ${opener} 5x10001`,
    `1 ${opener} 2:5,1:5`, `1 ${opener} 10000:5x2`, `1 ${opener} 0:5`, `1 ${opener} 9999999999`, `1 ${opener} 5 crc32`, `1 ${opener} 5  `,
    `1 ${opener!.slice(4)} 5`, `1 ${opener}AAAA 5`, `1 ${opener!.slice(0, -4)}!!!! 5`, `1 ${opener} 5e3`, `1 ${opener} x10`,
  ];
  for (const text of bad) expect([text, attributesFault({ [ENCRYPTED]: text }) !== undefined]).toEqual([text, true]);
  fc.assert(
    fc.property(fc.nat(good.length), fc.string({ unit: "grapheme-ascii", maxLength: 6 }), (at, more) => {
      const attributes = { [ENCRYPTED]: good.slice(0, at) + more + good.slice(at + more.length) };
      const encryption = attributesFault(attributes) === undefined ? encryptionOf({ attributes }) : undefined;
      if (encryption === undefined) return;
      expect(encryption.opener.length).toBe(OPENER_BYTES);
      expect(encryption.parts.every(({ size }) => Number.isSafeInteger(size) && size >= 0)).toBe(true);
    }),
  );
});
