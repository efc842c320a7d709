import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hubCommand } from "#cli/commands/hub.ts";
import { EXIT } from "#cli/exit-code.ts";
import { Output } from "#cli/output.ts";
import { parse } from "#cli/parse.ts";
import { makePaint } from "#cli/screen.ts";

test("[RELOAD-11] a hub that begins is not ended by SIGHUP: it reads its configuration again when it is there", async () => {
  const dir = mkdtempSync(join(tmpdir(), "syncline-hub-"));
  const config = join(dir, "hub.yaml");
  const end = new AbortController();
  const listeners: (() => void)[] = [];
  let said = "";
  const out = { write: (text: string) => void (said += text), isTty: false, columns: () => 80 };
  const output = new Output({ out, err: out, paint: makePaint(false) }, { json: true, quiet: false, verbose: false }, () => performance.now());
  try {
    writeFileSync(config, "listen: 127.0.0.1:0\nrequestsMax: 7\n");
    const parsed = parse(["hub", `--config=${config}`, `--data=${join(dir, "data")}`], {});
    const onHangup = (listener: () => void): void => void listeners.push(listener);
    const running = hubCommand({ parsed, output, environment: {}, signal: end.signal, onHangup, stateDir: () => dir });
    // Before anything of it is open.
    writeFileSync(config, "listen: 127.0.0.1:0\nrequestsMax: 8\n");
    expect(listeners.length).toBe(1);
    listeners[0]!();
    while (!said.includes('"why":"SIGHUP"')) await Bun.sleep(5);
    expect(said).toContain('"key":"requestsMax","from":"7","to":"8"');
    end.abort();
    expect(await running).toBe(EXIT.interrupted);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
