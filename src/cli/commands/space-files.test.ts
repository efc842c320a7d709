import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type Server, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { putCommand } from "#cli/commands/space-files.ts";
import { Output } from "#cli/output.ts";
import { parse } from "#cli/parse.ts";
import { makePaint } from "#cli/screen.ts";

const SIZE = 24 << 20;

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "syncline-put-"));
});
afterEach(() => rmSync(dir, { recursive: true }));

/** Takes what is put, slowly, and says that it has it. */
async function slowHub(onFirst: () => void): Promise<{ server: Server; url: string; taken: () => Buffer }> {
  const pieces: Buffer[] = [];
  const server = createServer((request, response) => {
    request.on("data", (piece: Buffer) => {
      if (pieces.push(piece) > 1) return;
      request.pause();
      onFirst();
      setTimeout(() => request.resume(), 50);
    });
    request.on("end", () => response.end(JSON.stringify({ path: "f", sequence: 1, size: SIZE })));
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, taken: () => Buffer.concat(pieces) };
}

test("[CLI-150] a small file that is changed while it is sent is put as it was, and never as a mixture", async () => {
  const file = join(dir, "f");
  writeFileSync(file, Buffer.alloc(SIZE, "a"));
  writeFileSync(join(dir, "token"), `${"t".repeat(40)}\n`);
  const { server, url, taken } = await slowHub(() => writeFileSync(file, Buffer.alloc(SIZE, "b")));
  const out = { write: () => undefined, isTty: false, columns: () => 80 };
  const output = new Output({ out, err: out, paint: makePaint(false) }, { json: false, quiet: true, verbose: false }, () => 0);
  const parsed = parse(["put", `--hub=${url}`, `--token-file=${join(dir, "token")}`, file, "demo:f"], {});
  const { signal } = new AbortController();
  try {
    await putCommand({ parsed, output, environment: {}, signal, onHangup: () => undefined, stateDir: () => dir });
    expect(taken().equals(Buffer.alloc(SIZE, "a"))).toBe(true);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
