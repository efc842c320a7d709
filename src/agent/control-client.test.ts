import { expect, test } from "bun:test";
import { ControlClient } from "#agent/control-client.ts";
import { encodeControl } from "#hub/agents/control.ts";
import { SynclineError } from "#model/error.ts";
import { systemClock, systemRandom } from "#platform/host-bun.ts";
import { memoryTransports } from "#sync/transport/memory-transport.ts";
import { Mux } from "#sync/wire/mux.ts";

test("[AGENT-123] each time that the hub is lost is told, also when it is for the same reason as the time before", async () => {
  const end = new AbortController();
  const told: string[] = [];
  let connected = 0;
  const gone = new SynclineError({ code: "LINK_LOST", op: "serve", message: "gone", retryable: true });
  /** Greets, and is gone. */
  const connect = (): Promise<Mux> => {
    const { client: here, server: there } = memoryTransports();
    const hub: Mux = new Mux(there, {
      role: "server",
      clock: systemClock,
      onOpen: (channel) => {
        void channel.send(encodeControl({ type: "assign", version: 1, links: [] }));
        setTimeout(() => hub.close(gone), 5);
      },
    });
    return Promise.resolve(new Mux(here, { role: "client", clock: systemClock }));
  };
  const client = new ControlClient({
    program: "test", platform: "test", links: () => [], connect,
    states: () => [], holds: () => [], onMessage: () => undefined, request: () => undefined, onConnected: () => undefined,
    clock: systemClock, random: systemRandom,
    log: (message, { reason }) => {
      if (message === "hub cannot be reached" && told.push(String(reason)) === 3) end.abort();
      // It has been back since.
      if (message === "connected to the hub" && ++connected > 5) end.abort();
    },
  });
  await client.run(end.signal);
  expect(told).toEqual(["gone", "gone", "gone"]);
});
