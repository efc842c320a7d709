import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Confined } from "#platform/confined.ts";
import type { Clock, Host } from "#platform/host.ts";
import { openHost, systemClock } from "#platform/host-bun.ts";
import { makeCertificate } from "#platform/net/certificate.ts";
import { connectTls } from "#platform/net/tls-socket.ts";
import { RemoteEndpoint } from "#sync/endpoint/remote-endpoint.ts";
import { type Server, type ServeOptions, PENDING_PER_ADDRESS_MAX, serveConnections, serveStdio } from "#sync/endpoint/serve.ts";
import { FAILURES_MAX } from "#sync/transport/failure-limiter.ts";
import { KnownServers } from "#sync/transport/known-servers.ts";
import { memoryTransports } from "#sync/transport/memory-transport.ts";
import { type ServerIdentity, givenIdentity, ownIdentity } from "#sync/transport/server-identity.ts";
import type { TlsTrust } from "#sync/transport/server-trust.ts";
import { type TlsClientOptions, connectToServer } from "#sync/transport/tls-client.ts";
import { startClient } from "#sync/wire/greeting.ts";
import { MemoryEndpoint, SUM } from "#testing/memory-endpoint.ts";

const never = new AbortController().signal;
const program = "syncline test";
const token = "a token of more than thirty-two bytes";
const request = {
  sessionId: SUM,
  seeds: { a: 1n, b: 2n },
  writable: true,
  ignore: [],
  include: [],
  preserve: { mode: true, mtime: true, owner: "none", xattrs: false, hardlinks: false, symlinks: true, sparse: true },
  durable: "batch",
  verifyReadBack: false,
  compress: "none",
  createRoot: true,
  expectRootId: undefined,
} as const;

/** Delays pass at once, so that a test of ten failures does not take ten seconds. Long waits stay waits. */
const hasty: Clock = {
  ...systemClock,
  sleep: (ms, signal) => (ms <= 1000 ? Promise.resolve() : systemClock.sleep(ms, signal)),
};
const host: Host = { ...openHost(), clock: hasty };

describe("serve", () => {
  let dir: string;
  let identity: ServerIdentity;
  let server: Server | undefined;
  let log: string[];
  let opened: { path: string; endpoint: MemoryEndpoint }[];

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "syncline-serve-"));
    mkdirSync(join(dir, "www/sub"), { recursive: true });
    mkdirSync(join(dir, "outside"));
    symlinkSync(join(dir, "outside"), join(dir, "www/link"));
    identity = ownIdentity(join(dir, "server-state"), "test-host", "127.0.0.1", systemClock);
    log = [];
    opened = [];
  });

  afterEach(async () => {
    await server?.close();
    server = undefined;
    rmSync(dir, { recursive: true });
  });

  function start(more: Partial<ServeOptions> = {}): void {
    server = serveConnections({
      listen: { host: "127.0.0.1", port: 0 },
      tls: { identity },
      roots: [{ name: "www", path: join(dir, "www"), readOnly: false }, { name: "docs", path: join(dir, "www"), readOnly: true }],
      tokens: [token, "another"],
      host,
      program,
      log: (message, fields) => log.push([message, ...Object.entries(fields).map(([name, value]) => `${name}=${value}`)].join(" ")),
      openEndpoint: ({ path }) => {
        const endpoint = new MemoryEndpoint();
        using root = new Confined(host.fs, host.fs.openRoot(path));
        const stat = root.stat("");
        endpoint.device = `${stat.dev}:${stat.ino}`;
        endpoint.put("hello", "world");
        opened.push({ path, endpoint });
        return endpoint;
      },
      ...more,
    });
  }

  function client(more: Partial<TlsClientOptions> = {}, trust: Partial<TlsTrust> = {}): RemoteEndpoint {
    const options: TlsClientOptions = {
      host: "127.0.0.1",
      port: server!.port,
      root: "www",
      token,
      trust: {
        ca: undefined,
        fingerprint: identity.fingerprint,
        acceptNew: false,
        askTrust: undefined,
        stateDir: join(dir, "client-state"),
        ...trust,
      },
      identity: undefined,
      program,
      clock: systemClock,
      ...more,
    };
    return new RemoteEndpoint({ label: "remote", clock: systemClock, connect: (signal) => connectToServer(options, signal) });
  }

  const openError = async (endpoint: RemoteEndpoint, asked: object = {}): Promise<unknown> => {
    const error = await endpoint.open({ ...request, ...asked }, never).catch((reason: unknown) => reason);
    await endpoint.close();
    return error;
  };

  test("[SERVE-1] with token, root and fingerprint right, calls go through, and the end is logged", async () => {
    start();
    const endpoint = client();
    expect(await endpoint.open(request, never)).toMatchObject({ rootId: "root-1" });
    const read = [];
    for await (const batch of endpoint.read(["hello"], never)) read.push(...batch);
    expect(read).toMatchObject([{ path: "hello", bytes: new Uint8Array(Buffer.from("world")) }]);
    expect(opened[0]!.endpoint.opened).toMatchObject({ createRoot: false });
    await endpoint.close();
    expect(opened[0]!.endpoint.isClosed).toBe(true);
    while (log.length < 2) await new Promise((resolve) => setImmediate(resolve));
    expect(log[0]).toMatch(/^connected address=127.0.0.1 root=www$/);
    expect(log[1]).toMatch(/^disconnected address=127.0.0.1 root=www sent=\d+ received=\d+/);
  });

  test("[SERVE-2] a wrong token is refused before anything about the server can be learned", async () => {
    start();
    for (const wrong of [undefined, "", "wrong", `${token}x`, token.slice(1)]) {
      expect(await openError(client({ token: wrong }))).toMatchObject({ code: "AUTH", hint: expect.any(String) });
      expect(await openError(client({ token: wrong, root: "nothing" }))).toMatchObject({ code: "AUTH" });
    }
    expect(opened).toEqual([]);
    expect(log.every((line) => line.startsWith("connection refused address=127.0.0.1 code=AUTH"))).toBe(true);
    expect(log.join()).not.toContain("wrong");
  });

  test("[SERVE-3] too many failures shut an address out, even with the right token", async () => {
    start();
    for (let at = 0; at < FAILURES_MAX; at++) expect(await openError(client({ token: "wrong" }))).toMatchObject({ message: expect.stringContaining("does not know") });
    expect(await openError(client())).toMatchObject({ code: "AUTH", message: expect.stringContaining("too many failed"), retryable: true });
    expect(opened).toEqual([]);
  });

  test("[SERVE-4] unknown roots and paths outside are refused", async () => {
    start();
    for (const root of ["nothing", "", "www/../outside", "www//etc", "www/.syncline", "www/sub/.syncline", "www/link", "www/\0"]) {
      expect(await openError(client({ root }))).toMatchObject({ code: "ROOT_UNKNOWN" });
    }
    expect(await openError(client({ root: "www/missing" }))).toMatchObject({ code: "ROOT_MISSING" });
    expect(opened).toEqual([]);
  });

  test("[SERVE-5] a directory below a root can be opened, unless it is another one by then", async () => {
    start();
    const endpoint = client({ root: "www/sub/" });
    await endpoint.open(request, never);
    expect(opened.map(({ path }) => path)).toEqual([join(dir, "www/sub")]);
    await endpoint.close();
    await server!.close();
    start({ openEndpoint: () => new MemoryEndpoint() });
    expect(await openError(client({ root: "www/sub" }))).toMatchObject({ code: "ROOT_UNKNOWN" });
  });

  test("[SERVE-6] a read-only root can be read and refuses to be written", async () => {
    start();
    expect(await openError(client({ root: "docs" }))).toMatchObject({ code: "ROOT_READ_ONLY", hint: expect.any(String) });
    const reader = client({ root: "docs" });
    await reader.open({ ...request, writable: false }, never);
    await reader.close();
    expect(log.some((line) => line.startsWith("call refused") && line.includes("code=ROOT_READ_ONLY"))).toBe(true);
  });

  test("[SERVE-7] another certificate than the pinned one stops the client before it shows its token", async () => {
    start();
    const fingerprint = `SHA256:${"0".repeat(64)}`;
    expect(await openError(client({}, { fingerprint }))).toMatchObject({ code: "TRUST", hint: expect.any(String) });
    expect(opened).toEqual([]);
    expect(log.filter((line) => line.includes("code=AUTH"))).toEqual([]);
  });

  test("[SERVE-8] an unknown server is asked about once, then pinned, and a change is refused", async () => {
    start();
    const asked: string[] = [];
    const answers = [false, true];
    const askTrust = async (name: string, fingerprint: string): Promise<boolean> => {
      asked.push(`${name} ${fingerprint}`);
      return answers.shift() ?? false;
    };
    const trust = { fingerprint: undefined, askTrust };
    expect(await openError(client({}, { fingerprint: undefined }))).toMatchObject({ code: "TRUST", hint: expect.stringContaining("--accept-new") });
    expect(await openError(client({}, trust))).toMatchObject({ code: "TRUST" });
    expect(await openError(client({}, trust))).toMatchObject({ rootId: "root-1" });
    expect(await openError(client({}, trust))).toMatchObject({ rootId: "root-1" });
    const name = `127.0.0.1:${server!.port}`;
    expect(asked).toEqual([`${name} ${identity.fingerprint}`, `${name} ${identity.fingerprint}`]);
    new KnownServers(join(dir, "client-state")).add(name, `SHA256:${"1".repeat(64)}`);
    expect(await openError(client({}, trust))).toMatchObject({ code: "TRUST", hint: expect.stringContaining("known_servers") });
    expect(await openError(client({}, { fingerprint: undefined, acceptNew: true }))).toMatchObject({ code: "TRUST" });
  });

  test("[SERVE-9] a certificate can be trusted by its authority, for its own names only", async () => {
    start();
    expect(await openError(client({}, { fingerprint: undefined, ca: identity.certificate }))).toMatchObject({ rootId: "root-1" });
    expect(await openError(client({ host: "localhost" }, { fingerprint: undefined, ca: identity.certificate }))).toMatchObject({ rootId: "root-1" });
    const other = makeCertificate(["elsewhere.example"], Date.now());
    await server!.close();
    start({ tls: { identity: other } });
    expect(await openError(client({}, { fingerprint: undefined, ca: other.certificate }))).toMatchObject({ code: "TRUST", message: expect.stringContaining("not accepted") });
    expect(await openError(client({}, { fingerprint: undefined, ca: identity.certificate }))).toMatchObject({ code: "TRUST" });
  });

  test("[SERVE-10] with a client authority only clients with its certificate come in", async () => {
    const good = makeCertificate(["client"], Date.now());
    const bad = makeCertificate(["client"], Date.now());
    start({ tls: { identity, clientAuthorities: good.certificate }, tokens: [] });
    expect(await openError(client({ token: undefined }))).toMatchObject({ code: "AUTH", hint: expect.stringContaining("--client-cert") });
    expect(await openError(client({ token: undefined, identity: bad }))).toMatchObject({ code: "AUTH" });
    expect(await openError(client({ token: undefined, identity: good }))).toMatchObject({ rootId: "root-1" });
    expect(log.filter((line) => line.startsWith("connection refused address=127.0.0.1 code=AUTH"))).toHaveLength(2);
  });

  test("[SERVE-11] one address cannot take all connections, and stalled ones are let go at the end", async () => {
    start();
    const options = { host: "127.0.0.1", port: server!.port, authorities: undefined, identity: undefined };
    const stalled = await Promise.all(Array.from({ length: PENDING_PER_ADDRESS_MAX }, () => connectTls(options, never)));
    expect(await openError(client())).toMatchObject({ code: "LINK_LOST" });
    expect(log.some((line) => line.startsWith("connection refused: too many"))).toBe(true);
    for (const { transport } of stalled) transport.close();
    let outcome: unknown;
    for (let tries = 0; tries < 100 && outcome === undefined; tries++) {
      const error = await openError(client());
      if (!(error instanceof Error)) outcome = error;
    }
    expect(outcome).toMatchObject({ rootId: "root-1" });
  });

  test("[SERVE-12] a client that breaks the protocol is cut off; others are not", async () => {
    start();
    const good = client();
    await good.open(request, never);
    const { transport } = await connectTls({ host: "127.0.0.1", port: server!.port, authorities: undefined, identity: undefined }, never);
    const { mux } = await startClient(transport, { root: "www", token, program, clock: systemClock }, never);
    const channel = mux.open("scan");
    await channel.send(new Uint8Array(100));
    expect(await mux.closed).toMatchObject({ code: "PROTOCOL" });
    expect(await good.sums(["hello"], never)).toEqual([SUM]);
    await good.close();
  });

  test("[SERVE-13] closing the server ends its connections and closes their endpoints", async () => {
    start();
    const endpoint = client();
    await endpoint.open(request, never);
    await server!.close();
    expect(opened[0]!.endpoint.isClosed).toBe(true);
    await expect(endpoint.sums(["hello"], never)).rejects.toMatchObject({ code: "LINK_LOST", retryable: true });
    await endpoint.close();
    expect(await openError(client())).toMatchObject({ code: "LINK_LOST", hint: expect.stringContaining("syncline serve") });
  });

  test("[SERVE-15] what is not TLS is dropped and leaves nothing behind", async () => {
    start();
    const closed = Promise.withResolvers<void>();
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port: server!.port,
      socket: { data: () => undefined, close: () => closed.resolve() },
    });
    socket.write("GET / HTTP/1.1\r\n\r\n".repeat(20));
    await closed.promise;
    while (log.length === 0) await new Promise((resolve) => setImmediate(resolve));
    expect(log[0]).toStartWith("TLS handshake failed address=127.0.0.1");
    expect(await openError(client())).toMatchObject({ rootId: "root-1" });
  });

  test("[SERVE-14] the certificate is kept, readable by its owner alone, and a damaged one is not replaced in silence", () => {
    const state = join(dir, "server-state");
    expect(ownIdentity(state, "other-host", "0.0.0.0", systemClock)).toEqual(identity);
    expect(statSync(join(state, "server.pem")).mode & 0o777).toBe(0o600);
    expect(givenIdentity(identity).fingerprint).toBe(identity.fingerprint);
    writeFileSync(join(state, "server.pem"), "nonsense");
    expect(() => ownIdentity(state, "h", "127.0.0.1", systemClock)).toThrow("cannot be used");
  });
});

describe("serve over stdio", () => {
  test("[SERVE-20] opens the path that the client names and ends with the connection", async () => {
    const { client, server } = memoryTransports();
    const endpoint = new MemoryEndpoint();
    const paths: string[] = [];
    const openEndpoint = ({ path }: { path: string }): MemoryEndpoint => {
      paths.push(path);
      return endpoint;
    };
    const serving = serveStdio({ transport: server, openEndpoint, clock: systemClock, program }, never);
    const connect = async () => (await startClient(client, { root: "/srv/www", token: "", program, clock: systemClock }, never)).mux;
    const remote = new RemoteEndpoint({ label: "x", clock: systemClock, connect });
    await remote.open(request, never);
    expect(endpoint.opened).toMatchObject({ createRoot: true });
    await remote.close();
    await serving;
    expect(paths).toEqual(["/srv/www"]);
    expect(endpoint.isClosed).toBe(true);
  });

  test("[SERVE-21] refuses a path that is not absolute", async () => {
    const { client, server } = memoryTransports();
    const options = { transport: server, openEndpoint: () => new MemoryEndpoint(), clock: systemClock, program };
    const serving = serveStdio(options, never).catch((error: unknown) => error);
    const greeting = { root: "relative", token: "", program, clock: systemClock };
    await expect(startClient(client, greeting, never)).rejects.toMatchObject({ code: "ROOT_UNKNOWN" });
    expect(await serving).toMatchObject({ code: "ROOT_UNKNOWN" });
  });
});
