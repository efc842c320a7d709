/**
 * Sessions of `syncline login`, one file a hub in the state directory, readable by their owner alone. The authority that
 * was named at the login is kept with it, so that later commands trust the same hub.
 */
import { createHash } from "node:crypto";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { SynclineError } from "#model/error.ts";
import { readPrivateFile, writePrivateFile } from "#platform/net/private-file.ts";

const LOGIN = z.object({ url: z.string(), user: z.string(), value: z.string(), ca: z.string().optional() });
export type Login = z.infer<typeof LOGIN>;

function fileOf(stateDir: string, url: string): string {
  return join(stateDir, "logins", createHash("sha256").update(url).digest("hex").slice(0, 32));
}

/** @throws {SynclineError} STATE when the file is no login */
export function readLogin(stateDir: string, url: string): Login | undefined {
  const file = fileOf(stateDir, url);
  const text = readPrivateFile(file);
  if (text === undefined) return undefined;
  try {
    return LOGIN.parse(JSON.parse(text));
  } catch (cause) {
    const message = "what syncline login kept is damaged";
    throw new SynclineError({ code: "STATE", op: "read login", path: file, message, hint: `rm ${file}, then syncline login`, cause });
  }
}

export function writeLogin(stateDir: string, login: Login): void {
  mkdirSync(join(stateDir, "logins"), { recursive: true, mode: 0o700 });
  writePrivateFile(fileOf(stateDir, login.url), `${JSON.stringify(login)}\n`);
}

export function forgetLogin(stateDir: string, url: string): void {
  rmSync(fileOf(stateDir, url), { force: true });
}
