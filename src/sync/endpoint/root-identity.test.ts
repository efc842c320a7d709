import { describe, expect, test } from "bun:test";
import { SynclineError } from "#model/error.ts";
import { openHost } from "#platform/host-bun.ts";
import { openRootDir } from "#sync/endpoint/root-identity.ts";

describe("the directory of a root", () => {
  test("[ROOTS-1] that it cannot be opened or made comes with the system's reason", () => {
    const { fs } = openHost();
    const open = (path: string): string => {
      try {
        openRootDir(fs, { path, writable: true, createRoot: true, expectRootId: undefined });
      } catch (error) {
        if (error instanceof SynclineError) return error.message;
        throw error;
      }
      throw new Error("it was opened");
    };
    const long = `/tmp/${"x".repeat(300)}`;
    expect(open(long)).toBe(`root ${long}: it cannot be opened: name too long`);
    expect(open("/proc/none")).toBe("root /proc/none: it cannot be created: no such file or directory");
    expect(open("/etc/passwd")).toBe("root /etc/passwd: it is not a directory");
  });
});
