import { expect, test } from "bun:test";
import { X509Certificate, createPrivateKey } from "node:crypto";
import { makeCertificate } from "#platform/net/certificate.ts";

const NOW = Date.UTC(2026, 10, 20);

test("[TLS-1] a made certificate is its own, for its names, and valid for ten years", () => {
  const { certificate, key } = makeCertificate(["host.example", "192.0.2.7", "2001:db8::1", "::1"], NOW);
  const parsed = new X509Certificate(certificate);
  expect(parsed.verify(parsed.publicKey)).toBe(true);
  expect(parsed.checkPrivateKey(createPrivateKey(key))).toBe(true);
  expect(parsed.checkHost("host.example")).toBe("host.example");
  expect(parsed.checkHost("other.example")).toBeUndefined();
  for (const ip of ["192.0.2.7", "2001:db8::1", "::1"]) expect(parsed.checkIP(ip)).toBe(ip);
  expect(parsed.checkIP("192.0.2.8")).toBeUndefined();
  expect(Date.parse(parsed.validFrom)).toBe(NOW - 86_400_000);
  expect(new Date(parsed.validTo).getUTCFullYear()).toBe(2036);
  expect(parsed.publicKey.asymmetricKeyDetails).toMatchObject({ namedCurve: "prime256v1" });
});

test("[TLS-2] two certificates never share key or serial, and long names and late years fit", () => {
  const one = new X509Certificate(makeCertificate(["a".repeat(100)], NOW).certificate);
  const two = new X509Certificate(makeCertificate(["a".repeat(100)], Date.UTC(2045, 0, 1)).certificate);
  expect(one.serialNumber).not.toBe(two.serialNumber);
  expect(one.fingerprint256).not.toBe(two.fingerprint256);
  expect(one.subject).toBe(`CN=${"a".repeat(64)}`);
  expect(new Date(two.validTo).getUTCFullYear()).toBe(2055);
  expect(new X509Certificate(makeCertificate(Array.from({ length: 40 }, (_, at) => `name-${at}.example`), NOW).certificate).checkHost("name-39.example")).toBe("name-39.example");
});
