import { afterAll } from "bun:test";
import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openHost } from "#platform/host-bun.ts";
import { chunkStoreContract } from "#store/chunk-store-contract.ts";
import { PACK_LIMITS } from "#store/packs/appender.ts";
import { openPacks } from "#store/packs/packs.ts";
import { SMALL, TestClock, payloadPlace, simUnderTest } from "#store/packs/packs-fixture.ts";

let seed = 0;
chunkStoreContract("packs over the simulated disk", () => simUnderTest(seed++, SMALL));
chunkStoreContract("packs over the simulated disk, in one large pack", () => simUnderTest(seed++, PACK_LIMITS));

const top = mkdtempSync(join(tmpdir(), "syncline-packs-"));
afterAll(() => rmSync(top, { recursive: true }));
const host = openHost();
let lives = 0;

chunkStoreContract("packs on the real disk", async () => {
  const clock = new TestClock();
  let directory = join(top, String(lives++));
  mkdirSync(directory);
  const open = async () => (await openPacks({ ...host, clock }, directory, SMALL)).store;
  const store = await open();
  return {
    store,
    clock: {
      get nowMs() {
        return clock.nowMs_;
      },
      set nowMs(value: number) {
        clock.nowMs_ = value;
      },
    },
    async reopen() {
      await store.close();
      return open();
    },
    async crash() {
      // What the files hold now, as another process would find it.
      const copy = join(top, String(lives++));
      cpSync(directory, copy, { recursive: true });
      directory = copy;
      return open();
    },
    async damage(id) {
      const { name, position } = payloadPlace(host.fs, directory, id);
      const root = host.fs.openRoot(directory);
      const fd = host.fs.openWrite(root, name);
      const byte = new Uint8Array(1);
      host.fs.read(fd, byte, position);
      host.fs.write(fd, Uint8Array.of(byte[0]! ^ 1), position);
      host.fs.close(fd);
      host.fs.close(root);
    },
  };
});
