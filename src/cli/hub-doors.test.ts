import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HubProcess } from "#cli/hub-process.ts";
import type { HubConfig } from "#config/hub-config.ts";
import { SynclineError } from "#model/error.ts";
import { openHost } from "#platform/host-bun.ts";

test("[HUB-10] a door on the port of the hub's listener for agents is told so, and how each of the two is moved", async () => {
  const dataDir = mkdtempSync(join(tmpdir(), "hub-doors-"));
  const other = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  const free = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  const port = free.port;
  free.stop(true);
  const log = { info: () => undefined, error: () => undefined };
  const refusal = async (config: HubConfig): Promise<SynclineError> => {
    const given = { listen: "127.0.0.1:0", syncListen: `127.0.0.1:${port}`, ...config };
    const started = await HubProcess.start({ host: openHost(), dataDir, config: given, bootstrap: undefined, log }).catch((error: unknown) => error);
    if (started instanceof HubProcess) await started.close();
    expect(started).toBeInstanceOf(SynclineError);
    return started as SynclineError;
  };
  try {
    for (const [key, option] of [["s3Listen", "s3-listen"], ["ftpListen", "ftp-listen"]] as const) {
      const { message, hint } = await refusal({ [key]: `127.0.0.1:${port}` });
      expect(message).toContain("this hub's own listener for agents");
      expect(hint).toContain("--sync-listen");
      expect(hint).toContain(`--${option}`);
    }
    expect((await refusal({ s3Listen: `127.0.0.1:${other.port}` })).message).not.toContain("agents");
  } finally {
    other.stop(true);
    rmSync(dataDir, { recursive: true, force: true });
  }
}, 60_000);
