import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ADDRESSES_MAX, FAILURES_MAX, FailureLimiter, REFUSE_MS, WINDOW_MS } from "#sync/transport/failure-limiter.ts";
import { KnownServers, parseFingerprint } from "#sync/transport/known-servers.ts";

describe("failure limiter", () => {
  test("[SERVE-30] refuses after enough failures within the window, for a while", () => {
    const limiter = new FailureLimiter();
    for (let at = 1; at < FAILURES_MAX; at++) limiter.failed("192.0.2.1", at);
    expect(limiter.refusedMs("192.0.2.1", 100)).toBe(0);
    limiter.failed("192.0.2.1", 100);
    expect(limiter.refusedMs("192.0.2.1", 100)).toBe(REFUSE_MS);
    expect(limiter.refusedMs("192.0.2.2", 100)).toBe(0);
    expect(limiter.refusedMs("192.0.2.1", 100 + REFUSE_MS)).toBe(0);
  });

  test("[SERVE-31] failures that are far apart do not add up", () => {
    const limiter = new FailureLimiter();
    for (let at = 0; at < FAILURES_MAX * 3; at++) limiter.failed("a", at * WINDOW_MS);
    expect(limiter.refusedMs("a", FAILURES_MAX * 3 * WINDOW_MS)).toBe(0);
  });

  test("[SERVE-32] counts an IPv6 network as one, and forgets the oldest when the table is full", () => {
    const limiter = new FailureLimiter();
    for (let at = 0; at < FAILURES_MAX; at++) limiter.failed(`2001:db8:0:1::${at}`, 0);
    expect(limiter.refusedMs("2001:db8:0:1:a:b:c:d", 0)).toBe(REFUSE_MS);
    expect(limiter.refusedMs("2001:db8:0:2::1", 0)).toBe(0);
    for (let at = 0; at < ADDRESSES_MAX + 10; at++) limiter.failed(`10.${at >> 16}.${(at >> 8) & 255}.${at & 255}`, 0);
    expect(limiter.size).toBe(ADDRESSES_MAX);
    expect(limiter.refusedMs("2001:db8:0:1::1", 0)).toBe(0);
  });
});

describe("known servers", () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "syncline-known-"));
  });
  afterEach(() => rmSync(dir, { recursive: true }));
  const print = (digit: string): string => `SHA256:${digit.repeat(64)}`;

  test("[TLS-3] pins are kept by server, privately, beside a person's own lines", () => {
    const known = new KnownServers(join(dir, "state"));
    expect(known.find("a:1")).toBeUndefined();
    known.add("a:1", print("1"));
    writeFileSync(known.path, `# mine\n\n${readFileSync(known.path, "utf8")}`);
    known.add("b:1", print("2"));
    known.add("a:1", print("3"));
    expect(known.find("a:1")).toBe(print("3"));
    expect(known.find("b:1")).toBe(print("2"));
    expect(readFileSync(known.path, "utf8")).toBe(`# mine\nb:1 ${print("2")}\na:1 ${print("3")}\n`);
    expect(statSync(known.path).mode & 0o777).toBe(0o600);
  });

  test("[TLS-4] a damaged line is an error and not an unknown server", () => {
    const known = new KnownServers(dir);
    writeFileSync(known.path, "a:1 SHA256:12\n");
    expect(() => known.find("a:1")).toThrow("no fingerprint");
    expect(known.find("b:1")).toBeUndefined();
  });

  test("[TLS-5] fingerprints are read in the forms people paste", () => {
    const pairs = "AB:".repeat(31) + "AB";
    for (const text of [`SHA256:${"ab".repeat(32)}`, pairs, `sha256 Fingerprint=${pairs}`.replace("sha256 Fingerprint=", "sha256="), ` ${"AB".repeat(32)}\n`]) {
      expect(parseFingerprint(text)).toBe(print("ab").replace(/(ab){64}/, "ab".repeat(32)));
    }
    for (const text of ["", "SHA256:12", "SHA1:" + "ab".repeat(20), "zz".repeat(32)]) expect(() => parseFingerprint(text)).toThrow("fingerprint");
  });
});
