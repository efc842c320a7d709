/** Peers that say nothing, say nonsense, claim too much or never read: the server serves the others, in bounded memory. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { type Socket, connect } from "node:net";
import { type TLSSocket, connect as connectSecure } from "node:tls";
import { SimRandom } from "#testing/sim-random.ts";
import { frameBytes, writeHeader } from "#sync/wire/frame.ts";
import { encodeAttach, encodeGreeting } from "#sync/wire/prelude.ts";
import { World, describeTree, eventually, summaryOf } from "./harness.ts";

const TEST_MS_MAX = 120_000;
/** What a hostile crowd may cost the server, in bytes: less than two connections' full windows. */
const GROWTH_BYTES_MAX = 100 << 20;
const GREETING = encodeGreeting({ versionMin: 2, versionMax: 2, program: "hostile", capabilities: new Uint8Array(0) });

/** Hostile peers come from another address than the honest ones, so that they are not told apart by luck. */
class Crowd implements Disposable {
  readonly #port: number;
  readonly #sockets: Socket[] = [];

  constructor(port: number) {
    this.#port = port;
  }

  async plain(): Promise<Socket> {
    const socket = connect({ host: "::1", port: this.#port });
    this.#sockets.push(socket);
    socket.on("error", () => undefined);
    await new Promise<void>((done) => socket.once("connect", done).once("close", () => done()));
    return socket;
  }

  async secure(): Promise<TLSSocket> {
    const socket = connectSecure({ host: "::1", port: this.#port, rejectUnauthorized: false });
    this.#sockets.push(socket);
    socket.on("error", () => undefined);
    await new Promise<void>((done) => socket.once("secureConnect", done).once("close", () => done()));
    return socket;
  }

  leave(): void {
    for (const socket of this.#sockets.splice(0)) socket.destroy();
  }

  [Symbol.dispose](): void {
    this.leave();
  }
}

function closed(socket: Socket): Promise<void> {
  return socket.destroyed ? Promise.resolve() : new Promise((done) => socket.once("close", () => done()));
}

function residentBytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))![1]) * 1024;
}

/** A server with one root and an honest client that can always be served. */
async function startServer(world: World) {
  world.folder("served");
  const file = world.token();
  const args = ["--listen", "[::]:0", "--root", "data=served", "--token-file", file];
  const { port, child } = await world.serve(args);
  let version = 0;
  const serve = async (): Promise<void> => {
    world.write("a/file", `version ${version++}`);
    const side = `syncline://127.0.0.1:${port}/data`;
    const done = await world.run(["sync", "a", side, "--token-file", file, "--accept-new", "--json"]);
    expect(done.out).not.toContain('"type":"retry"');
    expect(summaryOf(done)).toMatchObject({ result: "same" });
    expect(await describeTree(world.path("served"))).toBe(await describeTree(world.path("a")));
  };
  await serve();
  const attach = encodeAttach({ root: "data", token: readFileSync(file, "utf8").trim() });
  return { port, child, serve, attach, before: residentBytes(child.pid) };
}

describe("a server among hostile peers", () => {
  test(
    "[PEER-1] connections that say nothing, or are garbage instead of TLS, keep nobody else out",
    async () => {
      await using world = new World();
      const { port, child, serve, before } = await startServer(world);
      using crowd = new Crowd(port);
      const silent = await Promise.all(Array.from({ length: 150 }, () => crowd.plain()));
      await serve();
      const half = await Promise.all(Array.from({ length: 20 }, () => crowd.plain()));
      // The beginning of a handshake, and then nothing.
      for (const socket of half) socket.write(Buffer.from("160301", "hex"));
      await serve();
      for (const socket of [...silent, ...half]) socket.destroy();
      const random = new SimRandom(1);
      for (let round = 0; round < 60; round++) {
        const socket = await crowd.plain();
        socket.write(random.bytes(random.int(5000)));
        if (random.chance(0.5)) socket.destroy();
      }
      crowd.leave();
      await serve();
      expect(residentBytes(child.pid) - before).toBeLessThan(GROWTH_BYTES_MAX);
    },
    TEST_MS_MAX,
  );

  test(
    "[PEER-2] strangers inside TLS who greet wrongly, endlessly or slowly are cut off and learn nothing",
    async () => {
      await using world = new World();
      const { port, child, serve, before } = await startServer(world);
      using crowd = new Crowd(port);
      const random = new SimRandom(2);
      const greetings: Uint8Array[] = [
        Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        random.bytes(100_000),
        Buffer.concat([Buffer.from("SYNCLINE"), Buffer.from([0xff, 0xff])]),
        Buffer.concat([GREETING, Buffer.from([0xff, 0xff]), random.bytes(200_000)]),
        Buffer.concat([GREETING, encodeAttach({ root: "data", token: "x".repeat(5000) })]),
        Buffer.concat([GREETING, encodeAttach({ root: "data", token: "guessed" })]),
        Buffer.concat([GREETING, encodeAttach({ root: "../../etc", token: "" })]),
      ];
      const heard: Buffer[] = [];
      const cut: Promise<void>[] = [];
      for (const greeting of greetings) {
        const socket = await crowd.secure();
        socket.on("data", (bytes: Buffer) => heard.push(bytes));
        socket.write(greeting);
        cut.push(closed(socket));
      }
      const slow = await Promise.all(Array.from({ length: 8 }, () => crowd.secure()));
      let at = 0;
      const dripping = setInterval(() => {
        for (const socket of slow) if (!socket.destroyed) socket.write(GREETING.subarray(at, at + 1));
        at = Math.min(at + 1, GREETING.length - 2);
      }, 500);
      await serve();
      await Promise.all(cut);
      const text = Buffer.concat(heard).toString("latin1");
      expect(text).not.toContain("served");
      expect(text).not.toContain(world.dir);
      // One who drips its greeting is given up, however diligently it drips.
      await Promise.all(slow.map(closed));
      clearInterval(dripping);
      await serve();
      expect(residentBytes(child.pid) - before).toBeLessThan(GROWTH_BYTES_MAX);
    },
    TEST_MS_MAX,
  );

  test(
    "[PEER-3] one with a valid token who claims huge frames, floods, or never reads is bounded or cut off",
    async () => {
      await using world = new World();
      const { port, child, serve, attach, before } = await startServer(world);
      using crowd = new Crowd(port);
      const random = new SimRandom(3);
      const header = (channel: number, type: number, length: number): Uint8Array => {
        const bytes = new Uint8Array(9);
        writeHeader(bytes, 0, channel, type, length);
        return bytes;
      };
      const open = (channel: number, method: string): Uint8Array => frameBytes(channel, 1, Buffer.from(method));
      const pings = Buffer.concat(Array.from({ length: 20_000 }, () => frameBytes(0, 6, new Uint8Array(0))));
      const attacks: Uint8Array[] = [
        header(1, 2, 0xffff_ffff),
        Buffer.concat([open(1, "scan"), header(1, 2, 0x7fff_ffff), random.bytes(1 << 20)]),
        Buffer.concat([open(1, "open"), frameBytes(1, 2, random.bytes(60_000))]),
        Buffer.concat(Array.from({ length: 5000 }, (_, at) => open(at * 2 + 1, "read"))),
        pings,
        random.bytes(500_000),
      ];
      const said = (): string[] => child.output().split("\n").filter((line) => line.includes('"address":"::1"'));
      const connected = (): number => said().filter((line) => line.includes('"message":"connected"')).length;
      for (const [at, attack] of attacks.entries()) {
        const socket = await crowd.secure();
        // It never listens to what it is told.
        socket.pause();
        socket.write(Buffer.concat([GREETING, attach]));
        await eventually("that it is let in", () => connected() > at);
        socket.write(attack);
      }
      await serve();
      await Bun.sleep(500);
      await serve();
      // Whoever broke the protocol was sent away for it.
      const sentAway = said().filter((line) => /"message":"disconnected".*(malformed data|a frame of)/.test(line));
      // All but the flood of pings, which is allowed as long as it is bounded.
      expect(sentAway).toHaveLength(attacks.length - 1);
      expect(residentBytes(child.pid) - before).toBeLessThan(GROWTH_BYTES_MAX);
      crowd.leave();
      await serve();
      expect(child.output()).not.toContain("INTERNAL");
      expect(await Promise.race([child.exited, Bun.sleep(1).then(() => "alive")])).toBe("alive");
    },
    TEST_MS_MAX,
  );
});
