/** The FTP client, held to the contract by our own door: in clear, and in both kinds of TLS. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FtpLab, PASSWORD } from "#gateway/ftp/ftp-fixture.ts";
import { systemClock, systemRandom } from "#platform/host-bun.ts";
import { foreignContract } from "#sync/foreign/foreign-contract.ts";
import type { FtpServer } from "#sync/foreign/ftp/ftp-control.ts";
import { FtpFiles } from "#sync/foreign/ftp/ftp-files.ts";

let lab: FtpLab;
let state: string;
let places = 0;

beforeAll(async () => {
  lab = await FtpLab.open();
  state = mkdtempSync(join(tmpdir(), "syncline-ftp-client-"));
});
afterAll(async () => {
  await lab[Symbol.asyncDispose]();
  rmSync(state, { recursive: true, force: true });
});

function client(root: string, tls: FtpServer["tls"], password = PASSWORD): FtpFiles {
  const trust = { ca: undefined, fingerprint: undefined, acceptNew: true, askTrust: undefined, stateDir: state };
  const port = tls === "implicit" ? lab.securePort : lab.port;
  const server = { host: "127.0.0.1", port, user: "admin", password, tls, trust, identity: undefined };
  return new FtpFiles({ server, root, owner: "abc", clock: systemClock, random: systemRandom });
}

for (const tls of ["none", "explicit", "implicit"] as const) {
  foreignContract(`FTP, TLS ${tls}`, async () => {
    const root = `/demo/place${places++}`;
    const maker = await lab.signedIn();
    await maker.say(`MKD ${root}`);
    maker.destroy();
    const stranger = (): FtpFiles => client(root, tls, "wrong");
    return { files: client(root, tls), other: () => client(root, tls), stranger: tls === "none" ? stranger : undefined, dispose: () => undefined };
  });
}

test("[FOREIGN-43] every connection of FTP goes to the address that was found for it, and nowhere where there is none", async () => {
  const trust = { ca: undefined, fingerprint: undefined, acceptNew: true, askTrust: undefined, stateDir: state };
  const asked: string[] = [];
  const open = (addressOf: (host: string) => Promise<string>): FtpFiles => {
    const server = { host: "nowhere.invalid", port: lab.port, user: "admin", password: PASSWORD, tls: "none", trust, identity: undefined, addressOf } as const;
    return new FtpFiles({ server, root: "/demo", owner: "abc", clock: systemClock, random: systemRandom });
  };
  const signal = new AbortController().signal;
  const files = open((host) => {
    asked.push(host);
    return Promise.resolve("127.0.0.1");
  });
  expect((await files.connect(signal)).system).toBe("FTP");
  await files.close();
  expect(asked).toEqual(["nowhere.invalid"]);
  const refusing = open(() => Promise.reject(new Error("it may not be reached")));
  expect(await refusing.connect(signal).then(() => "reached", String)).toContain("it may not be reached");
});
