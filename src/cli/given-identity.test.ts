import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Authority } from "#access/authority.ts";
import { systemClock, systemRandom } from "#platform/host-bun.ts";
import { readIdentity, validityWarning } from "#cli/given-identity.ts";

const dir = mkdtempSync(join(tmpdir(), "syncline-identity-"));
afterAll(() => rmSync(dir, { recursive: true }));
const NAMES = { cert: "cert", key: "key" };

test("[CLI-132] a certificate whose key is another, or that is none, is refused with which it is; one that has ended is told", () => {
  const authority = Authority.open(join(dir, "ca"), systemClock, systemRandom);
  const [one, two] = ["one", "two"].map((name) => {
    const { certificate, key } = authority.serverIdentity([name]).identity;
    const [cert, own] = [join(dir, `${name}.pem`), join(dir, `${name}.key`)] as const;
    writeFileSync(cert, certificate);
    writeFileSync(own, key);
    return { cert, key: own, certificate };
  });
  expect(readIdentity(NAMES, { cert: undefined, key: undefined })).toBeUndefined();
  expect(readIdentity(NAMES, one!)?.certificate).toBe(one!.certificate);
  expect(() => readIdentity(NAMES, { ...one!, key: undefined })).toThrow("--cert and --key belong together");
  expect(() => readIdentity(NAMES, { ...one!, key: two!.key })).toThrow("--key: this key is not that of the certificate");
  expect(() => readIdentity(NAMES, { ...one!, cert: one!.key })).toThrow("has no certificate in PEM");
  expect(() => readIdentity(NAMES, { ...one!, key: one!.cert })).toThrow("has no private key in PEM");
  const now = systemClock.nowMs();
  const years = 10 * 365 * 24 * 3600_000;
  expect(validityWarning(one!.certificate, now)).toBeUndefined();
  expect(validityWarning(one!.certificate, now + years)).toStartWith("the certificate ended on ");
  expect(validityWarning(one!.certificate, now - years)).toStartWith("the certificate begins on ");
});
