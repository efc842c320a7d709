/** What the hub's authority makes, read and judged by OpenSSL. */
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeKeyPair } from "#platform/net/certificate.ts";
import { systemClock, systemRandom } from "#platform/host-bun.ts";
import { Authority } from "#access/authority.ts";

const OPENSSL = Bun.which("openssl");

function openssl(...args: string[]): { code: number; out: string } {
  const done = Bun.spawnSync([OPENSSL!, ...args], { stdout: "pipe", stderr: "pipe" });
  return { code: done.exitCode, out: done.stdout.toString() + done.stderr.toString() };
}

describe.if(OPENSSL !== null)("certificates, by OpenSSL", () => {
  test("[CA-20] authority, server and host are what they should be, and verify for their purpose alone", () => {
    const directory = mkdtempSync(join(tmpdir(), "syncline-openssl-"));
    try {
      const authority = Authority.open(join(directory, "one"), systemClock, systemRandom);
      const other = Authority.open(join(directory, "two"), systemClock, systemRandom);
      const file = (name: string, text: string): string => {
        writeFileSync(join(directory, name), text);
        return join(directory, name);
      };
      const ca = file("ca.pem", authority.certificate);
      const otherCa = file("other.pem", other.certificate);
      const server = file("server.pem", authority.serverIdentity(["hub.example", "192.0.2.7", "2001:db8::1"]).identity.certificate);
      const host = file("host.pem", authority.issueForHost("web1", makeKeyPair().publicKey).certificate);
      const text = (path: string): string => openssl("x509", "-in", path, "-noout", "-text").out;
      expect(text(ca)).toMatch(/CA:TRUE, pathlen:0[^]*Certificate Sign, CRL Sign/);
      expect(text(server)).toMatch(/CA:FALSE[^]*Digital Signature[^]*TLS Web Server Authentication/);
      expect(text(server)).toContain("DNS:hub.example, IP Address:192.0.2.7, IP Address:2001:DB8:0:0:0:0:0:1");
      expect(text(host)).toMatch(/Subject: OU ?= ?syncline host, CN ?= ?web1[^]*TLS Web Client Authentication[^]*DNS:web1/);
      const verify = (...args: string[]): number => openssl("verify", "-x509_strict", ...args).code;
      expect(verify("-CAfile", ca, ca)).toBe(0);
      expect(verify("-CAfile", ca, "-purpose", "sslserver", "-verify_hostname", "hub.example", server)).toBe(0);
      expect(verify("-CAfile", ca, "-purpose", "sslserver", "-verify_ip", "2001:db8::1", server)).toBe(0);
      expect(verify("-CAfile", ca, "-purpose", "sslclient", host)).toBe(0);
      expect(verify("-CAfile", ca, "-purpose", "sslclient", server)).not.toBe(0);
      expect(verify("-CAfile", ca, "-purpose", "sslserver", host)).not.toBe(0);
      expect(verify("-CAfile", ca, "-purpose", "sslserver", "-verify_hostname", "other.example", server)).not.toBe(0);
      expect(verify("-CAfile", otherCa, host)).not.toBe(0);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
});
