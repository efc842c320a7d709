import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { certificateFault, readSshAuthorities } from "#access/ssh-certificates.ts";

const HOUR_MS = 3_600_000;
let dir: string;

/** ssh-keygen of OpenSSH makes what is judged here. */
function keygen(...args: string[]): void {
  const done = Bun.spawnSync(["ssh-keygen", "-q", ...args], { cwd: dir, stdin: "ignore", stderr: "pipe" });
  if (done.exitCode !== 0) throw new Error(done.stderr.toString());
}

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "syncline-certificates-"));
  for (const name of ["ca", "other", "user"]) keygen("-t", "ed25519", "-N", "", "-f", name);
  keygen("-t", "rsa", "-b", "2048", "-N", "", "-f", "ca-rsa");
  keygen("-t", "ecdsa", "-N", "", "-f", "ca-ecdsa");
  keygen("-t", "ecdsa", "-N", "", "-f", "user-ecdsa");
  keygen("-t", "rsa", "-b", "2048", "-N", "", "-f", "user-rsa");
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const authorities = (...names: string[]): readonly Uint8Array[] => {
  const text = ["# those we trust", ...names.map((name) => readFileSync(join(dir, `${name}.pub`), "utf8"))].join("\n");
  const read = readSshAuthorities(text);
  if (typeof read === "string") throw new Error(read);
  return read;
};

function certificate(signer: string, user: string, ...options: string[]): Uint8Array {
  keygen("-s", signer, "-I", "test", ...options, `${user}.pub`);
  return Buffer.from(readFileSync(join(dir, `${user}-cert.pub`), "utf8").split(" ")[1]!, "base64");
}

const judge = (blob: Uint8Array, trusted: readonly Uint8Array[], more: { user?: string; address?: string; nowMs?: number } = {}) =>
  certificateFault({ certificate: blob, user: "ann", address: "192.0.2.7", nowMs: Date.now(), ...more }, trusted);

test("[ACCESS-90] a certificate lets the users in that it names, while its time runs", () => {
  for (const signer of ["ca", "ca-rsa", "ca-ecdsa"]) {
    for (const user of ["user", "user-ecdsa", "user-rsa"]) {
      const blob = certificate(signer, user, "-n", "ann,bob", "-V", "-1h:+1h");
      expect(judge(blob, authorities("other", signer))).toBeUndefined();
      expect(judge(blob, authorities(signer), { user: "eve" })).toContain("not for this user");
      expect(judge(blob, authorities("other"))).toContain("authority is not known");
      expect(judge(blob, [])).toContain("authority is not known");
      expect(judge(blob, authorities(signer), { nowMs: Date.now() + 2 * HOUR_MS })).toContain("time is over");
      expect(judge(blob, authorities(signer), { nowMs: Date.now() - 2 * HOUR_MS })).toContain("time is over");
    }
  }
});

test("[ACCESS-91] a certificate without names, for hosts, or with a condition that is not met lets nobody in", () => {
  const trusted = authorities("ca");
  expect(judge(certificate("ca", "user"), trusted)).toContain("not for this user");
  expect(judge(certificate("ca", "user", "-h", "-n", "ann"), trusted)).toContain("for a host");
  expect(judge(certificate("ca", "user", "-n", "ann", "-O", "force-command=ls"), trusted)).toContain("force-command");
  expect(judge(certificate("ca", "user", "-n", "ann", "-O", "force-command=internal-sftp"), trusted)).toBeUndefined();
  expect(judge(certificate("ca", "user", "-n", "ann", "-O", "critical:x@example.com=1"), trusted)).toContain("x@example.com");
  const near = certificate("ca", "user", "-n", "ann", "-O", "source-address=192.0.2.0/24,2001:db8::/32");
  expect(judge(near, trusted)).toBeUndefined();
  expect(judge(near, trusted, { address: "::ffff:192.0.2.255" })).toBeUndefined();
  expect(judge(near, trusted, { address: "2001:db8:5::1" })).toBeUndefined();
  expect(judge(near, trusted, { address: "2001:db9::1" })).toContain("source-address");
  expect(judge(near, trusted, { address: "192.0.3.1" })).toContain("source-address");
});

test("[ACCESS-92] a certificate that was changed or cut anywhere lets nobody in", () => {
  const trusted = authorities("ca");
  const blob = certificate("ca", "user", "-n", "ann", "-V", "-1h:+1h");
  fc.assert(
    fc.property(fc.nat(blob.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const changed = Uint8Array.from(blob);
      changed[at]! ^= change;
      expect(judge(changed, trusted)).toBeDefined();
      expect(judge(blob.slice(0, at), trusted)).toBeDefined();
    }),
    { numRuns: 400 },
  );
  expect(judge(Buffer.concat([blob, Buffer.from([0])]), trusted)).toContain("more behind it");
  const plain = Buffer.from(readFileSync(join(dir, "user.pub"), "utf8").split(" ")[1]!, "base64");
  expect(judge(plain, trusted)).toContain("no certificate");
  writeFileSync(join(dir, "junk"), "ssh-ed25519 AAAA");
  expect(readSshAuthorities(readFileSync(join(dir, "junk"), "utf8"))).toBe("line 1 is no public key");
});
