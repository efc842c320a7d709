/** A real server, and clients that hold connections open. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { openHost, openSockets } from "#platform/host-bun.ts";
import { ConnectionLimit } from "#platform/net/connection-limit.ts";
import { type HttpServer, serveHttp } from "#platform/net/http-server.ts";
import { type AcceptedSocket, peerText } from "#platform/open-sockets.ts";

const sockets = openSockets()!;
type Client = { isOpen: boolean; readonly port: number; text: string; send(text: string): void; end(): void };

async function client(port: number, hostname = "127.0.0.1"): Promise<Client> {
  const made: Client = { isOpen: true, port: 0, text: "", send: () => undefined, end: () => undefined };
  const socket = await Bun.connect({
    hostname,
    port,
    socket: {
      close: () => void (made.isOpen = false),
      data: (_, bytes) => void (made.text += bytes.toString()),
      error: () => undefined,
    },
  });
  return Object.assign(made, { port: socket.localPort, send: (text: string) => void socket.write(text), end: () => socket.end() });
}
const GET = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: h\r\n\r\n`;
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await Bun.sleep(2);
}

describe("connections", () => {
  let max = 10;
  let files = 1000;
  let server: HttpServer;
  let limit: ConnectionLimit;
  let slow = Promise.withResolvers<void>();
  const peers: string[] = [];
  const cuts: number[] = [];
  const clients: Client[] = [];
  const connect = async (count: number, hostname?: string): Promise<Client[]> => {
    const some = await Promise.all(Array.from({ length: count }, () => client(server.port, hostname)));
    clients.push(...some);
    return some;
  };
  const open = (some: readonly Client[]): number => some.filter(({ isOpen }) => isOpen).length;
  const accepted = (): AcceptedSocket[] => sockets.acceptedAt(server.port);

  function start(host: string): void {
    limit = new ConnectionLimit({
      sockets: { ...bound(), filesMax: files }, clock: openHost().clock, max: () => max, onCut: (count) => void cuts.push(count),
      onTrouble: (error) => {
        throw error;
      },
    });
    server = serveHttp({
      host, port: 0, tls: undefined,
      connections: limit,
      handle: async (request, address) => {
        peers.push(address);
        if (new URL(request.url).pathname === "/slow") await slow.promise;
        return new Response("ok");
      },
    });
  }
  const bound = () => ({
    files: () => sockets.files(),
    acceptedAt: (port: number) => sockets.acceptedAt(port),
    cut: (one: AcceptedSocket) => sockets.cut(one),
  });

  beforeEach(() => {
    [max, files, slow] = [10, 1000, Promise.withResolvers()];
    for (const list of [peers, cuts, clients]) list.length = 0;
  });
  afterEach(async () => {
    slow.resolve();
    for (const one of clients) one.end();
    await server.stop(0);
  });

  test("[CONN-1] are told by the system with their other end, as requests are, and for how long they have rested", async () => {
    for (const [host, to] of [["127.0.0.1", "127.0.0.1"], ["::", "::1"], ["::", "127.0.0.1"]] as const) {
      start(host);
      const [one] = await connect(1, to);
      one!.send(GET("/"));
      await until(() => one!.text.includes("ok"));
      const [found] = accepted();
      expect([to, found!.peer]).toEqual([to, peerText(peers.at(-1)!, one!.port)]);
      await Bun.sleep(30);
      expect(accepted()[0]!.idleMs).toBeGreaterThanOrEqual(20);
      one!.end();
      await until(() => accepted().length === 0);
      if (to !== "127.0.0.1" || host === "127.0.0.1") await server.stop(0);
    }
  });

  test("[CONN-2] above the limit those are cut that have asked for nothing; who works, or has asked, stays, and who comes is answered", async () => {
    start("127.0.0.1");
    const [asked, working] = [await connect(3), await connect(3)];
    for (const one of asked) one.send(GET("/"));
    for (const one of working) one.send(GET("/slow"));
    await until(() => asked.every(({ text }) => text.includes("ok")) && peers.length === 6);
    limit.look(server.port);
    expect([open([...asked, ...working]), cuts]).toEqual([6, []]);
    const idle = await connect(40);
    // Half of a head is no request.
    for (const one of idle.slice(0, 20)) one.send("GET / HTTP/1.1\r\nHost: h\r\n");
    await until(() => accepted().length === 46);
    limit.look(server.port);
    await until(() => open(clients) <= 10);
    expect([open(asked), open(working), limit.open]).toEqual([3, 3, 46]);
    expect(cuts).toEqual([46 - Math.floor(10 * (15 / 16))]);
    const [late] = await connect(1);
    late!.send(GET("/"));
    await until(() => late!.text.includes("ok"));
    slow.resolve();
    await until(() => working.every(({ text }) => text.includes("ok")));
  });

  test("[CONN-3] of those that have asked those go first that rest for longest, and none whose request is at work", async () => {
    start("127.0.0.1");
    max = 4;
    const working = await connect(6);
    for (const one of working) one.send(GET("/slow"));
    await until(() => peers.length === 6);
    limit.look(server.port);
    expect([cuts, open(working)]).toEqual([[], 6]);
    slow.resolve();
    await until(() => working.every(({ text }) => text.includes("ok")));
    await Bun.sleep(50);
    const [last] = working.slice(-1);
    last!.send(GET("/"));
    await until(() => last!.text.split("ok").length === 3);
    limit.look(server.port);
    await until(() => open(working) === 3);
    expect(last!.isOpen).toBe(true);
  });

  test("[CONN-6] a look that the system refuses is told, and the next one is taken", async () => {
    start("127.0.0.1");
    const refused = Object.assign(new Error("too many open files"), { code: "EMFILE" });
    const troubles: unknown[] = [];
    const end = new AbortController();
    let looks = 0;
    const acceptedAt = (): AcceptedSocket[] => {
      if (++looks === 1) throw refused;
      end.abort();
      return [];
    };
    const { clock } = openHost();
    const limiting = new ConnectionLimit({
      sockets: { ...bound(), acceptedAt, filesMax: 2 }, clock: { ...clock, sleep: () => Bun.sleep(1) }, max: () => max,
      onCut: () => undefined, onTrouble: (error) => void troubles.push(error),
    });
    await limiting.run(server.port, end.signal);
    expect([troubles, looks]).toEqual([[refused], 2]);
  });

  test("[CONN-4] they have half of the files that the process may open at most, whatever the limit says", async () => {
    [max, files] = [5000, 40];
    start("127.0.0.1");
    expect(limit.max).toBe(20);
    const idle = await connect(30);
    await until(() => accepted().length === 30);
    limit.look(server.port);
    await until(() => open(idle) <= 20);
    expect(sockets.filesMax).toBeGreaterThan(100);
    expect(sockets.files()).toBeGreaterThan(20);
  });
});
