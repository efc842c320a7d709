import { expect, test } from "bun:test";
import { listenFault } from "#platform/net/listen-fault.ts";

function thrown(listen: { host: string; port: number }): unknown {
  try {
    Bun.listen({ hostname: listen.host, port: listen.port, socket: { data: () => undefined } }).stop(true);
    return undefined;
  } catch (error) {
    return error;
  }
}

test("[LISTEN-1] an address that cannot be had is told with why, and what to do", () => {
  const server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  try {
    const taken = { host: "127.0.0.1", port: server.port };
    expect(listenFault(thrown(taken), taken, "--sync-listen")).toMatchObject({
      code: "USAGE",
      message: `cannot listen on 127.0.0.1:${server.port}: another program has that port`,
      hint: `see who has it: ss -ltnp | grep ${server.port}; or choose another with --sync-listen HOST:PORT`,
    });
  } finally {
    server.stop(true);
  }
  // Of a block that is kept for documents.
  const foreign = { host: "192.0.2.1", port: 7830 };
  expect(listenFault(thrown(foreign), foreign, "--listen").message).toContain("this host has no address 192.0.2.1");
  const denied = Object.assign(new Error("denied"), { code: "EACCES" });
  expect(listenFault(denied, { host: "::", port: 80 }, "--listen")).toMatchObject({
    message: "cannot listen on [::]:80: that is not allowed",
    hint: "ports below 1024 need root or CAP_NET_BIND_SERVICE",
  });
  const unknown = { host: "nowhere.invalid", port: 7830 };
  expect(listenFault(thrown(unknown), unknown, "--listen").message).toContain("taken, not of this host, or not allowed");
});
