/** Somebody holds thousands of connections to the hub open: whoever has something to ask is answered, and nothing is lost. */
import { expect, test } from "bun:test";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { Fleet } from "./fleet.ts";

const TEST_MS_MAX = 60_000;
const CROWD = 10_000;
const CONNECTIONS_MAX = 2000;
const HALF_A_HEAD = "GET /v1/spaces HTTP/1.1\r\nHost: h\r\n";
/** What the crowd may cost the hub: a few KB for each that it keeps open. */
const GROWTH_BYTES_MAX = 100 << 20;

const residentBytes = (pid: number): number => Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))![1]) * 1024;
const filesOf = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

test("[CONN-5] ten thousand connections that say nothing, or half of a head: the hub keeps as many as it is to and answers who asks", async () => {
  await using fleet = await Fleet.start({ hub: ["--connections-max", String(CONNECTIONS_MAX)] });
  fleet.startAgent("web1");
  await fleet.healthy("web1");
  const { pid } = fleet.process("hub");
  const before = residentBytes(pid);
  const port = Number(new URL(fleet.url).port);
  const end = new AbortController();
  let [opened, cut] = [0, 0];
  const sockets: { end(): void }[] = [];
  const hold = async (at: number): Promise<void> => {
    const socket = await Bun.connect({
      hostname: "127.0.0.1", port,
      socket: { open: (one) => void (at % 2 === 0 && one.write(HALF_A_HEAD)), close: () => void cut++, data: () => undefined, error: () => undefined },
    });
    opened++;
    sockets.push(socket);
  };
  const crowd = (async () => {
    for (let at = 0; !end.signal.aborted && at < 3 * CROWD; at++) await hold(at).catch(() => undefined);
  })();
  while (opened < CROWD) {
    const live = await fetch(`${fleet.url}/health/live`, { headers: { connection: "close" } });
    expect([live.status, (await fetch(`${fleet.url}/health/ready`)).status]).toEqual([200, 200]);
    await Bun.sleep(20);
  }
  writeFileSync(`${fleet.root("web1")}/note`, "while a crowd is at the door");
  await fleet.until("the edit is in the space", async () => (await fleet.json<{ entries: { path: string }[] }>("/v1/spaces/site/entries")).entries.some(({ path }) => path === "note"));
  end.abort();
  await crowd;
  await fleet.until("what is too much is cut", () => filesOf(pid) < CONNECTIONS_MAX + 500 && cut >= opened - CONNECTIONS_MAX);
  expect(residentBytes(pid) - before).toBeLessThan(GROWTH_BYTES_MAX);
  expect(fleet.said("hub")).toContain("too many connections");
  for (const socket of sockets) socket.end();
}, TEST_MS_MAX);
