/** Addresses of foreign systems, and where keys and passwords come from. */
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SynclineError } from "#model/error.ts";
import { ftpLogin, netrcOf, profileOf, s3Credentials } from "#cli/credentials.ts";
import { parseSide } from "#cli/side-address.ts";

function refusal(attempt: () => unknown): SynclineError {
  try {
    attempt();
  } catch (error) {
    if (error instanceof SynclineError) return error;
    throw error;
  }
  throw new Error("it was not refused");
}

describe("addresses of foreign systems", () => {
  test("[FOREIGN-40] buckets with their prefix, endpoint, region, style and profile", () => {
    const none = { endpoint: undefined, region: undefined, style: undefined, profile: undefined };
    expect(parseSide("s3://my.bucket")).toEqual({ kind: "s3", bucket: "my.bucket", prefix: "", ...none });
    expect(parseSide("S3://b-1/a b/c+d/?endpoint=https://h:9000&region=eu&style=virtual&profile=p")).toEqual({
      kind: "s3", bucket: "b-1", prefix: "a b/c+d", endpoint: "https://h:9000", region: "eu", style: "virtual", profile: "p",
    });
    for (const text of ["s3://", "s3:///x", "s3://b?other=1", "s3://b?endpoint=h:9", "s3://b?endpoint=https://h/path", "s3://b?style=x", "s3://b/a//c", "s3://b/../c", "s3://u:p@b/c"]) {
      expect(refusal(() => parseSide(text))).toMatchObject({ code: "USAGE" });
    }
  });

  test("[FOREIGN-40] FTP with its kinds of TLS, and SFTP", () => {
    expect(parseSide("ftp://h/srv")).toEqual({ kind: "ftp", host: "h", user: undefined, port: 21, path: "/srv", tls: "none" });
    expect(parseSide("ftp://me@h:2121/a b?tls=explicit")).toEqual({ kind: "ftp", host: "h", user: "me", port: 2121, path: "/a b", tls: "explicit" });
    expect(parseSide("ftps://[::1]/~")).toEqual({ kind: "ftp", host: "::1", user: undefined, port: 990, path: "/~", tls: "implicit" });
    expect(parseSide("sftp://me@h:22/srv/what?")).toEqual({ kind: "sftp", host: "h", user: "me", port: 22, path: "/srv/what?" });
    for (const text of ["ftp://h", "sftp://h", "ftp://h/x?tls=maybe", "ftp://h/x?a=b", "ftp://h:99999/x", "sftp://-oProxyCommand=x/y"]) {
      expect(refusal(() => parseSide(text))).toMatchObject({ code: "USAGE" });
    }
  });

  test("[FOREIGN-41] a password in an address is refused and not repeated", () => {
    for (const scheme of ["ftp", "ftps", "sftp", "ssh"]) {
      const error = refusal(() => parseSide(`${scheme}://me:hunter2@h/srv`));
      expect(`${error.message} ${error.hint}`).not.toContain("hunter2");
    }
  });
});

describe("credentials", () => {
  test("[FOREIGN-42] profiles of AWS files and machines of .netrc files", () => {
    const text = "[default]\naws_access_key_id = A\n# no\n[ profile other ]\naws_access_key_id=B\naws_secret_access_key = s=1\n";
    expect(profileOf(text, "default")).toEqual({ aws_access_key_id: "A" });
    expect(profileOf(text, "other")).toEqual({ aws_access_key_id: "B", aws_secret_access_key: "s=1" });
    expect(profileOf(text, "third")).toBeUndefined();
    const netrc = '# c\nmachine a login x password p1\nmachine b\n login y\n password "p w\\"2"\nmachine b login z password p3\ndefault login d password p4';
    expect(netrcOf(netrc, "A", undefined)).toEqual({ user: "x", password: "p1" });
    expect(netrcOf(netrc, "b", undefined)).toEqual({ user: "y", password: 'p w"2' });
    expect(netrcOf(netrc, "b", "z")).toEqual({ user: "z", password: "p3" });
    expect(netrcOf(netrc, "c", undefined)).toEqual({ user: "d", password: "p4" });
    expect(netrcOf(netrc, "c", "x")).toBeUndefined();
  });

  test("[FOREIGN-42] a file that is named goes before the environment; who is missing is told what to do", () => {
    const dir = mkdtempSync(join(tmpdir(), "syncline-credentials-"));
    try {
      const file = join(dir, "keys");
      writeFileSync(file, "[default]\naws_access_key_id=F\naws_secret_access_key=f\n");
      const env = { AWS_ACCESS_KEY_ID: "E", AWS_SECRET_ACCESS_KEY: "e", AWS_SHARED_CREDENTIALS_FILE: join(dir, "none"), NETRC: join(dir, "none") };
      expect(s3Credentials(undefined, undefined, env)).toMatchObject({ accessKey: "E", secretKey: "e" });
      expect(s3Credentials(file, undefined, env)).toMatchObject({ accessKey: "F", secretKey: "f" });
      expect(refusal(() => s3Credentials(file, "other", env)).message).toContain("[other]");
      expect(refusal(() => s3Credentials(undefined, "other", env)).hint).toContain("--credentials-file");
      expect(ftpLogin("h", undefined, undefined, env)).toEqual({ user: "anonymous", password: "anonymous@" });
      expect(ftpLogin("h", "me", undefined, { ...env, SYNCLINE_FTP_PASSWORD: "p" })).toEqual({ user: "me", password: "p" });
      expect(refusal(() => ftpLogin("h", "me", undefined, env)).hint).toContain(".netrc");
      expect(refusal(() => ftpLogin("h", "me", file, env)).hint).toContain("machine h");
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
});
