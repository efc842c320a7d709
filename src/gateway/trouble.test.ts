import { expect, test } from "bun:test";
import { ApiProblem } from "#gateway/api/problem.ts";
import { diskWarning, isTrouble, troubleText } from "#gateway/trouble.ts";
import { SynclineError } from "#model/error.ts";

test("[API-47] a used-up quota is no trouble of the hub; a full disk is, and is said without a stack", () => {
  expect([isTrouble(507, "QUOTA"), isTrouble(503, "BUSY"), isTrouble(404, "NOT_FOUND")]).toEqual([false, false, false]);
  expect([isTrouble(507, "DISK"), isTrouble(500, "INTERNAL")]).toEqual([true, true]);
  const full = new SynclineError({ code: "DISK", op: "write", message: "the disk is full", path: "/hub/hub.db" });
  expect(troubleText(full)).toBe("the disk is full (/hub/hub.db)");
  expect(troubleText(new ApiProblem("UNSUPPORTED", "not here"))).toBe("not here");
  expect(troubleText(new TypeError("x is undefined"))).toMatch(/^TypeError: x is undefined\n {4}at /);
});

test("[API-48] a hub whose disk is all but full warns whoever asks how it is", () => {
  expect(diskWarning({ freeBytes: 3e9, totalBytes: 100e9 })).toBeUndefined();
  expect(diskWarning({ freeBytes: 1.5e9, totalBytes: 100e9 })).toContain("1500 MB of 100000 MB are left");
  expect(diskWarning({ freeBytes: 0, totalBytes: 100e9 })).toContain("the disk of the hub is full: 0 MB");
});
