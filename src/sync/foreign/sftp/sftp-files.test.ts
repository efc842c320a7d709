/** The SFTP client through the system's ssh, held to the contract by our own door. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SftpLab } from "#gateway/sftp/sftp-fixture.ts";
import { systemRandom } from "#platform/host-bun.ts";
import { foreignContract } from "#sync/foreign/foreign-contract.ts";
import { SftpFiles } from "#sync/foreign/sftp/sftp-files.ts";

let lab: SftpLab;
let dir: string;
let places = 0;

beforeAll(async () => {
  lab = await SftpLab.open();
  dir = mkdtempSync(join(tmpdir(), "syncline-sftp-client-"));
  for (const name of ["known", "unknown"]) {
    Bun.spawnSync(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", join(dir, name)]);
  }
  const key = readFileSync(join(dir, "known.pub"), "utf8").trim();
  await lab.api.ask("/v1/users/admin/ssh-keys", { method: "POST", json: { key } });
});
afterAll(async () => {
  await lab[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true, force: true });
});

function client(root: string, key: string, name = "127.0.0.1", addressOf?: () => Promise<string>): SftpFiles {
  const options = ["StrictHostKeyChecking=no", `UserKnownHostsFile=${dir}/hosts`, "LogLevel=ERROR", "IdentitiesOnly=yes", "BatchMode=yes"];
  const command = `ssh -F none -i ${join(dir, key)} ${options.map((option) => `-o ${option}`).join(" ")}`;
  const target = { user: "admin", host: name, port: lab.port };
  return new SftpFiles({ server: { target, command, addressOf }, root, owner: "abc", random: systemRandom });
}

foreignContract("SFTP", async () => {
  const root = `/demo/place${places++}`;
  const admin = await lab.session("admin");
  await admin.mkdir(root);
  admin.client.end();
  const files = (): SftpFiles => client(root, "known");
  return { files: files(), other: files, stranger: () => client(root, "unknown"), dispose: () => undefined };
});

test("[FOREIGN-43] ssh goes to the address that was found, under the name whose key is known, and nowhere where there is none", async () => {
  const signal = new AbortController().signal;
  const files = client("/demo", "known", "nowhere.invalid", () => Promise.resolve("127.0.0.1"));
  expect((await files.connect(signal)).system).toBe("SFTP");
  await files.close();
  expect(readFileSync(join(dir, "hosts"), "utf8")).toContain(`[nowhere.invalid]:${lab.port}`);
  let isRefused = true;
  const again = client("/demo", "known", "nowhere.invalid", () =>
    isRefused ? Promise.reject(new Error("it may not be reached")) : Promise.resolve("127.0.0.1"),
  );
  expect(await again.connect(signal).then(() => "reached", String)).toContain("it may not be reached");
  // A refusal is not the end of the client.
  isRefused = false;
  expect((await again.connect(signal)).system).toBe("SFTP");
  await again.close();
});
