import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ssh2 from "ssh2";
import { makeSshKeyPair, openHostKeys } from "#platform/net/ssh-host-keys.ts";

const MALFORMED = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU=\n-----END OPENSSH PRIVATE KEY-----";

test("[SFTP-58] a pair that the library makes malformed is made again, so often at most", () => {
  let calls = 0;
  const make = (spoiled: number): ReturnType<typeof makeSshKeyPair> =>
    makeSshKeyPair("ed25519", undefined, (type, options) => {
      const pair = ssh2.utils.generateKeyPairSync(type, options);
      return ++calls <= spoiled ? { ...pair, private: MALFORMED } : pair;
    });
  expect(ssh2.utils.parseKey(make(5).private)).not.toBeInstanceOf(Error);
  expect(calls).toBeGreaterThanOrEqual(6);
  expect(() => make(Infinity)).toThrow("Malformed");
});

test("[SFTP-58] a host key that cannot be read is named, and left as it is", () => {
  const dir = mkdtempSync(join(tmpdir(), "syncline-host-keys-"));
  try {
    const { keys } = openHostKeys(dir);
    expect(openHostKeys(dir).keys.map((key) => key.trim())).toEqual(keys.map((key) => key.trim()));
    const file = join(dir, "ssh_host_ed25519_key");
    writeFileSync(file, MALFORMED);
    expect(() => openHostKeys(dir)).toThrow(`${file} is no private key without a passphrase: Malformed`);
    expect(readFileSync(file, "utf8")).toBe(MALFORMED);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
