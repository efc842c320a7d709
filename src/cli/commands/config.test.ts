import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { configCommand } from "#cli/commands/config.ts";
import { EXIT } from "#cli/exit-code.ts";
import { Output } from "#cli/output.ts";
import { parse } from "#cli/parse.ts";
import { makePaint } from "#cli/screen.ts";

test("[CONF-33] a configuration that is checked and found right is one with which a hub begins: links of its bootstrap file, too", async () => {
  const dir = mkdtempSync(join(tmpdir(), "syncline-config-"));
  const [config, boot] = [join(dir, "hub.yaml"), join(dir, "boot.yaml")];
  const out = { write: () => undefined, isTty: false, columns: () => 80 };
  const output = new Output({ out, err: out, paint: makePaint(false) }, { json: false, quiet: true, verbose: false }, () => 0);
  const check = async (link: string): Promise<number> => {
    writeFileSync(boot, `spaces: [{name: site}]\nlinks: [${link}]\n`);
    const parsed = parse(["config", "check", `--config=${config}`], {});
    const { signal } = new AbortController();
    return configCommand({ parsed, output, environment: {}, signal, onHangup: () => undefined, stateDir: () => dir });
  };
  try {
    writeFileSync(config, `bootstrap: ${boot}\n`);
    expect(await check("{host: web1, root: /srv/site, space: site}")).toBe(EXIT.same);
    await expect(check("{host: web1, root: srv/site, space: site}")).rejects.toMatchObject({ code: "USAGE" });
    await expect(check("{host: web1, root: /srv/site, space: site, mdoe: two-way-safe}")).rejects.toMatchObject({ code: "USAGE" });
  } finally {
    rmSync(dir, { recursive: true });
  }
});
