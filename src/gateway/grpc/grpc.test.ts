import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { Client, Metadata, type ServiceError, credentials, status } from "@grpc/grpc-js";
import type { MethodDefinition } from "@grpc/grpc-js";
import { heapStats } from "bun:jsc";
import fc from "fast-check";
import { ApiLab, TOKENS } from "#gateway/api/api-fixture.ts";
import { FILES, HEALTH, REFLECTION, REFLECTION_ALPHA, describe as described, serviceOf } from "#gateway/grpc/schema.ts";

type Answer = Record<string, unknown>;
type Name = keyof typeof TOKENS;

const service = serviceOf(FILES);
const methodOf = (name: string): MethodDefinition<object, object> => service[name] as MethodDefinition<object, object>;

let lab: ApiLab;
let client: Client;

beforeAll(async () => {
  lab = await ApiLab.open({ grpcListen: "127.0.0.1:0" });
  for (const path of ["in/a.txt", "out/b.txt", "top.txt"]) await lab.put(path, `text of ${path}`);
  const [url] = lab.hub.doors;
  client = new Client(new URL(url!.replace("grpc:", "http:")).host, credentials.createInsecure());
});
afterAll(async () => {
  client.close();
  await lab[Symbol.asyncDispose]();
});

function metadataOf(who: Name | "nobody"): Metadata {
  const metadata = new Metadata();
  if (who !== "nobody") metadata.set("authorization", `Bearer ${TOKENS[who]}`);
  return metadata;
}

/** The answer of a call with one question and one answer, or the code that it failed with. */
function ask(name: string, request: object, who: Name | "nobody" = "admin"): Promise<Answer | status> {
  const { path, requestSerialize, responseDeserialize } = methodOf(name);
  return new Promise((resolve) => {
    client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, metadataOf(who), (error, value) =>
      resolve(error === null ? (value as Answer) : (error as ServiceError).code));
  });
}

/** As ask, with many questions. */
function send(name: string, messages: readonly object[], who: Name = "admin"): Promise<Answer | status> {
  const { path, requestSerialize, responseDeserialize } = methodOf(name);
  return new Promise((resolve) => {
    const call = client.makeClientStreamRequest(path, requestSerialize, responseDeserialize, metadataOf(who), (error, value) =>
      resolve(error === null ? (value as Answer) : (error as ServiceError).code));
    call.on("error", () => undefined);
    for (const message of messages) call.write(message);
    call.end();
  });
}

/** All answers of a call, until it ends or `isEnough`; the code it failed with is the last. */
function receive(name: string, request: object, who: Name = "admin", isEnough = (_all: Answer[]): boolean => false) {
  const { path, requestSerialize, responseDeserialize } = methodOf(name);
  return new Promise<{ all: Answer[]; code: status }>((resolve) => {
    const all: Answer[] = [];
    const call = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, metadataOf(who));
    call.on("data", (value: Answer) => {
      all.push(value);
      if (isEnough(all)) call.cancel();
    });
    call.on("error", (error: ServiceError) => resolve({ all, code: error.code }));
    call.on("end", () => resolve({ all, code: status.OK }));
  });
}

const FINISH = { finish: true };
/** The first word of the hub's health, or the error that it is answered with. */
function watchedHealth(): Promise<unknown> {
  const { path, requestSerialize, responseDeserialize } = serviceOf(HEALTH)["Watch"] as MethodDefinition<object, object>;
  return new Promise((resolve) => {
    const call = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, { service: "" });
    call.on("error", resolve);
    call.on("data", (value: object) => {
      resolve(value);
      call.cancel();
    });
  });
}

const place = (path: string, space = "demo"): object => ({ space, path });
const upload = (path: string, text: string, who: Name = "admin", more: object = {}): Promise<Answer | status> =>
  send("Upload", [{ header: { place: place(path), ...more } }, { data: Buffer.from(text) }, FINISH], who);
const codeOf = (answer: Answer | status): status => (typeof answer === "number" ? answer : status.OK);

describe("gRPC", () => {
  test("[GRPC-1] a file goes in and out, whole and in parts, and is the same through the API", async () => {
    const bytes = Buffer.from(Uint8Array.from({ length: 1_500_000 }, (_, at) => (at * 7 + (at >> 9)) & 255));
    const pieces = Array.from({ length: 15 }, (_, at) => ({ data: bytes.subarray(at * 100_000, (at + 1) * 100_000) }));
    const entry = await send("Upload", [{ header: { place: place("new/deep/file"), makeParents: true, mtimeNs: "7", mode: 0o600 } }, ...pieces, FINISH]);
    expect(entry).toMatchObject({ path: "new/deep/file", kind: "KIND_FILE", size: "1500000", mode: 0o600, mtimeNs: "7" });
    const response = await lab.ask("/v1/spaces/demo/content/new/deep/file");
    expect(Buffer.compare(Buffer.from(await response.arrayBuffer()), bytes)).toBe(0);
    const { all } = await receive("Download", { place: place("new/deep/file"), offset: "10", length: "600000" });
    expect(all[0]!["entry"]).toEqual(entry);
    expect(Buffer.compare(Buffer.concat(all.slice(1).map(({ data }) => data as Buffer)), bytes.subarray(10, 600_010))).toBe(0);
    expect(codeOf(await upload("none/file", "x"))).toBe(status.NOT_FOUND);
  });

  test("[GRPC-2] an upload that breaks off, or is not what was said, changes nothing", async () => {
    const { path, requestSerialize, responseDeserialize } = methodOf("Upload");
    const broken = new Promise((resolve) => {
      const call = client.makeClientStreamRequest(path, requestSerialize, responseDeserialize, metadataOf("admin"), resolve);
      call.on("error", () => undefined);
      call.write({ header: { place: place("broken") } });
      call.write({ data: Buffer.alloc(300_000) });
      setTimeout(() => call.cancel(), 50);
    });
    await broken;
    expect(codeOf(await ask("Stat", { place: place("broken") }))).toBe(status.NOT_FOUND);
    const more = { size: "6" };
    expect(codeOf(await upload("broken", "short", "admin", more))).toBe(status.INVALID_ARGUMENT);
    expect(codeOf(await upload("broken", "too long", "admin", more))).toBe(status.INVALID_ARGUMENT);
    expect(codeOf(await upload("broken", "x", "admin", { sha256: Buffer.alloc(32) }))).toBe(status.DATA_LOSS);
    expect(codeOf(await upload("broken", "x", "admin", { sha256: Buffer.alloc(5) }))).toBe(status.INVALID_ARGUMENT);
    expect(codeOf(await upload("broken", "x", "admin", { mode: 0o170000 }))).toBe(status.INVALID_ARGUMENT);
    const cut = [{ header: { place: place("broken") } }, { data: Buffer.from("x") }];
    expect(codeOf(await send("Upload", cut))).toBe(status.INVALID_ARGUMENT);
    expect(codeOf(await send("Upload", [...cut, FINISH, ...cut.slice(1)]))).toBe(status.INVALID_ARGUMENT);
    expect(codeOf(await send("Upload", []))).toBe(status.INVALID_ARGUMENT);
    expect(codeOf(await send("Upload", [{ header: { place: place("broken") } }, { header: {} }]))).toBe(status.INVALID_ARGUMENT);
    expect(codeOf(await ask("Stat", { place: place("broken") }))).toBe(status.NOT_FOUND);
  });

  test("[GRPC-3] conditions hold in the commit, and every refusal has its code", async () => {
    const first = (await upload("cond", "1")) as Answer;
    expect(codeOf(await upload("cond", "2", "admin", { condition: { absent: true } }))).toBe(status.ALREADY_EXISTS);
    expect(codeOf(await upload("cond2", "2", "admin", { condition: { present: true } }))).toBe(status.NOT_FOUND);
    expect(codeOf(await upload("cond", "2", "admin", { condition: { sequence: first["sequence"] } }))).toBe(status.OK);
    expect(codeOf(await upload("cond", "3", "admin", { condition: { sequence: first["sequence"] } }))).toBe(status.ABORTED);
    expect(codeOf(await ask("Remove", { place: place("cond"), condition: { sequence: first["sequence"] } }))).toBe(status.ABORTED);
    expect(codeOf(await ask("Remove", { place: place("in") }))).toBe(status.FAILED_PRECONDITION);
    expect(codeOf(await ask("Remove", { place: place("none") }))).toBe(status.NOT_FOUND);
    expect(codeOf(await ask("Move", { from: place("cond"), toPath: "top.txt" }))).toBe(status.ALREADY_EXISTS);
    expect(codeOf(await ask("Move", { from: place("in"), toPath: "in/in" }))).toBe(status.INVALID_ARGUMENT);
    expect(codeOf(await ask("Move", { from: place("cond"), toPath: "none/x" }))).toBe(status.NOT_FOUND);
    expect(codeOf(await upload("top.txt/x", "x"))).toBe(status.FAILED_PRECONDITION);
    expect(codeOf(await upload("in", "x"))).toBe(status.FAILED_PRECONDITION);
    expect((await receive("Download", { place: place("in") })).code).toBe(status.FAILED_PRECONDITION);
    expect((await receive("Download", { place: place("cond"), ifSequence: "1" })).code).toBe(status.ABORTED);
    expect(codeOf(await ask("Move", { from: place("cond"), toPath: "moved" }))).toBe(status.OK);
    expect(await lab.text("moved")).toBe("2");
  });

  test("[GRPC-4] paths that lead elsewhere are refused; names of any bytes come and go as bytes", async () => {
    for (const path of ["", "../x", "/x", "a//b", "a/./b", "a\0b", ".syncline/x", "x".repeat(300)]) {
      expect(codeOf(await upload(path, "x"))).toBe(status.INVALID_ARGUMENT);
      expect(codeOf(await ask("Stat", { place: place(path) }))).toBe(status.INVALID_ARGUMENT);
    }
    const rawPath = Buffer.from([0x61, 0xff, 0xfe, 0x62]);
    const entry = (await send("Upload", [{ header: { place: { space: "demo", rawPath } } }, FINISH])) as Answer;
    expect(entry).toMatchObject({ path: "a\ufffd\ufffdb", size: "0" });
    expect(Buffer.from(entry["rawPath"] as Buffer).equals(rawPath)).toBe(true);
    expect(codeOf(await ask("Stat", { place: { space: "demo", rawPath } }))).toBe(status.OK);
    const { entries } = (await ask("List", { below: place("") })) as { entries: Answer[] };
    expect(entries.some((one) => Buffer.from(one["rawPath"] as Buffer).equals(rawPath))).toBe(true);
    expect(codeOf(await ask("Remove", { place: { space: "demo", rawPath } }))).toBe(status.OK);
  });

  test("[GRPC-5] a listing goes on page by page, in byte order, now and at a point", async () => {
    for (let number = 0; number < 5; number++) await lab.put(`pages/${number}`, "x");
    const paths: string[] = [];
    let pageToken: unknown = Buffer.alloc(0);
    do {
      const page = (await ask("List", { below: place("pages"), pageSize: 2, pageToken })) as { entries: Answer[]; nextPageToken: Buffer };
      paths.push(...page.entries.map(({ path }) => path as string));
      pageToken = page.nextPageToken;
    } while ((pageToken as Buffer).length > 0);
    expect(paths).toEqual([0, 1, 2, 3, 4].map((number) => `pages/${number}`));
    expect(codeOf(await ask("List", { below: place("pages"), pageToken: Buffer.from("in/a.txt") }))).toBe(status.INVALID_ARGUMENT);
    expect(codeOf(await ask("List", { below: place(""), pageSize: 1_001 }))).toBe(status.INVALID_ARGUMENT);
    expect((await ask("List", { below: place(""), atSequence: "1" })) as object).toMatchObject({ entries: [{ path: "in" }] });
  });

  test("[GRPC-6] each call of each person comes to what the rights say, and without a token to nothing", async () => {
    const denied = [status.PERMISSION_DENIED];
    for (const who of ["reader", "writer", "stranger"] as const) {
      const refused = who === "stranger" ? [status.PERMISSION_DENIED, status.NOT_FOUND] : denied;
      const check = (answer: Answer | status, isAllowed: boolean): void => expect(isAllowed ? [status.OK] : refused).toContain(codeOf(answer));
      const [mayRead, mayWrite] = [who !== "stranger", who === "writer"];
      await lab.put(`in/mine-${who}`, "x");
      check(await ask("Stat", { place: place("in/a.txt") }, who), mayRead);
      check(await ask("Stat", { place: place("out/b.txt") }, who), false);
      check(await ask("List", { below: place("in") }, who), mayRead);
      check(await ask("List", { below: place("out") }, who), false);
      check((await receive("Download", { place: place("in/a.txt") }, who)).code, mayRead);
      check((await receive("Download", { place: place("out/b.txt") }, who)).code, false);
      check(await upload(`in/by-${who}`, "x", who), mayWrite);
      check(await upload(`out/by-${who}`, "x", who), false);
      check(await ask("Move", { from: place(`in/mine-${who}`), toPath: `in/yours-${who}` }, who), mayWrite);
      check(await ask("Move", { from: place("in/a.txt"), toPath: `out/${who}` }, who), false);
      check(await ask("Remove", { place: place(`in/${mayWrite ? "yours" : "mine"}-${who}`) }, who), mayWrite);
      check(await ask("Remove", { place: place("out/b.txt") }, who), false);
      const { spaces } = (await ask("ListSpaces", {}, who)) as { spaces: Answer[] };
      expect(spaces.map(({ name }) => name)).toEqual(mayRead ? ["demo"] : []);
      const { all, code } = await receive("Watch", { space: "demo", afterSequence: "0" }, who, (seen) => seen.length > 1);
      if (!mayRead) expect(refused).toContain(code);
      const told = all.flatMap(({ changes }) => changes as Answer[]).map(({ path }) => path as string);
      expect(told.every((path) => path === "in" || path.startsWith("in/"))).toBe(true);
    }
    for (const name of ["ListSpaces", "List", "Stat", "Remove", "Move"]) expect(await ask(name, {}, "nobody")).toBe(status.UNAUTHENTICATED);
    expect(await lab.text("in/a.txt")).toBe("text of in/a.txt");
  });

  test("[GRPC-7] a watcher is told of every change once, in order, and of none any more when its token is revoked", async () => {
    const made = await lab.ask("/v1/tokens", { method: "POST", json: { user: "reader", name: "watcher" } });
    const { value: token, token: { id } } = (await made.json()) as { value: string; token: { id: string } };
    const { path, requestSerialize, responseDeserialize } = methodOf("Watch");
    const metadata = new Metadata();
    metadata.set("authorization", `Bearer ${token}`);
    const call = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, { space: "demo" }, metadata);
    const told: string[] = [];
    const ended = new Promise<status>((resolve) => call.on("error", (error: ServiceError) => resolve(error.code)));
    const listening = new Promise((resolve) => call.once("data", resolve));
    call.on("data", ({ changes }: { changes: Answer[] }) => told.push(...changes.map((one) => one["path"] as string)));
    await listening;
    for (let number = 0; number < 20; number++) await lab.put(`in/watched-${number}`, "x");
    for (let looks = 0; told.length < 20 && looks < 1_000; looks++) await Bun.sleep(5);
    expect(told).toEqual(Array.from({ length: 20 }, (_, number) => `in/watched-${number}`));
    expect((await lab.ask(`/v1/tokens/${id}`, { method: "DELETE" })).ok).toBe(true);
    expect(await ended).toBe(status.UNAUTHENTICATED);
  });

  test("[GRPC-56] a watcher whose token is revoked while it begins to watch is told of no change", async () => {
    const made = await lab.ask("/v1/tokens", { method: "POST", json: { user: "reader", name: "shorter" } });
    const { value: token, token: { id } } = (await made.json()) as { value: string; token: { id: string } };
    const { spaces } = lab.hub;
    const space = spaces.space.bind(spaces);
    spaces.space = async (...asked) => {
      spaces.space = space;
      const found = await space(...asked);
      await lab.ask(`/v1/tokens/${id}`, { method: "DELETE" });
      return found;
    };
    const { path, requestSerialize, responseDeserialize } = methodOf("Watch");
    const metadata = new Metadata();
    metadata.set("authorization", `Bearer ${token}`);
    const call = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, { space: "demo" }, metadata);
    const told: string[] = [];
    const ended = new Promise<status>((resolve) => call.on("error", (error: ServiceError) => resolve(error.code)));
    call.on("data", ({ changes }: { changes: Answer[] }) => told.push(...changes.map((one) => one["path"] as string)));
    await new Promise((resolve) => call.once("data", resolve));
    await lab.put("in/unheard", "x");
    const code = await Promise.race([ended, Bun.sleep(3_000)]);
    call.cancel();
    expect([code, told]).toEqual([status.UNAUTHENTICATED, []]);
  });

  test("[GRPC-53] a watcher of a space hears nothing of another one that has got its name", async () => {
    const rename = (from: string, name: string): Promise<Response> => lab.ask(`/v1/spaces/${from}`, { method: "PATCH", json: { name } });
    const make = (name: string): Promise<Response> => lab.ask("/v1/spaces", { method: "POST", json: { name } });
    await make("watched");
    await lab.put("first", "x", "watched");
    let isListening = false;
    const watching = receive("Watch", { space: "watched" }, "admin", (all) => {
      isListening = true;
      return all.length > 1;
    });
    while (!isListening) await Bun.sleep(5);
    await rename("watched", "was-watched");
    await make("watched");
    for (const path of ["a", "b", "c"]) await lab.put(path, "x", "watched");
    // It hears of this one.
    await lab.put("second", "x", "was-watched");
    const { all, code } = await watching;
    expect([all.length, code]).toEqual([1, status.NOT_FOUND]);
  });

  test("[GRPC-52] a watcher whose token expires is told of no more, also where changes never cease", async () => {
    const expires = new Date(Date.now() + 600_000).toISOString();
    const made = await lab.ask("/v1/tokens", { method: "POST", json: { user: "reader", name: "expiring", expires } });
    expect(made.ok).toBe(true);
    const { value: token } = (await made.json()) as { value: string };
    const { path, requestSerialize, responseDeserialize } = methodOf("Watch");
    const metadata = new Metadata();
    metadata.set("authorization", `Bearer ${token}`);
    const call = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, { space: "demo" }, metadata);
    let code: status | undefined;
    let told = 0;
    call.on("error", (error: ServiceError) => (code = error.code));
    call.on("data", ({ changes }: { changes: Answer[] }) => (told += changes.length));
    const change = async (times: number, from: number): Promise<void> => {
      for (let number = from; number < from + times && code === undefined; number++) {
        await lab.put("in/ceaseless", `${number}`);
        await Bun.sleep(20);
      }
    };
    while (told === 0) await change(1, 0);
    lab.aheadMs += 3_600_000;
    try {
      await change(100, 1);
      expect(code).toBe(status.UNAUTHENTICATED);
    } finally {
      lab.aheadMs = 0;
      call.cancel();
    }
  });

  test("[GRPC-8] whatever bytes a message has, they are a message or none; what is no HTTP/2 harms nobody", async () => {
    const methods = [FILES, HEALTH, REFLECTION].flatMap((declared) => Object.values(serviceOf(declared)));
    fc.assert(
      fc.property(fc.constantFrom(...methods), fc.uint8Array({ maxLength: 200 }), (method, bytes) => {
        try {
          expect(typeof method.requestDeserialize(Buffer.from(bytes))).toBe("object");
        } catch (error) {
          expect(error).toBeInstanceOf(Error);
        }
      }),
      { numRuns: 2_000 },
    );
    const { path } = methodOf("Stat");
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 100 }), async (bytes) => {
        const same = (value: Buffer): Buffer => value;
        const code = await new Promise<status>((resolve) =>
          client.makeUnaryRequest(path, same, same, Buffer.from(bytes), metadataOf("admin"), (error) => resolve(error?.code ?? status.OK)));
        expect([status.INTERNAL, status.INVALID_ARGUMENT, status.NOT_FOUND]).toContain(code);
      }),
      { numRuns: 100 },
    );
    const { hostname, port } = new URL(lab.hub.doors[0]!.replace("grpc:", "http:"));
    const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 300 }), fc.boolean(), async (noise, isGreeted) => {
        const socket = connect(Number(port), hostname);
        socket.on("error", () => undefined);
        const closed = new Promise((resolve) => socket.on("close", resolve));
        socket.resume();
        if (isGreeted) socket.write(preface);
        socket.write(noise);
        socket.end();
        setTimeout(() => socket.destroy(), 200);
        await closed;
      }),
      { numRuns: 30 },
    );
    expect(codeOf(await ask("Stat", { place: place("top.txt") }))).toBe(status.OK);
    expect(lab.log.filter(({ message }) => message === "grpc failed")).toEqual([]);
  });

  test("[GRPC-9] what reflection tells of each service is what it is", () => {
    for (const declared of [FILES, HEALTH, REFLECTION, REFLECTION_ALPHA]) {
      const { symbols, bytes } = described(declared);
      expect(symbols.has(declared.name)).toBe(true);
      expect(bytes.length).toBeGreaterThan(100);
      for (const name of Object.keys(serviceOf(declared))) expect(symbols.has(`${declared.name}.${name}`)).toBe(true);
    }
    expect(described(FILES).symbols.has("syncline.v1.UploadHeader")).toBe(true);
  });

  test("[GRPC-10] uploads that are refused leave no timer behind", async () => {
    const timers = (): number => {
      Bun.gc(true);
      return heapStats().objectTypeCounts["Timeout"] ?? 0;
    };
    const refused = (): Promise<Answer | status> => send("Upload", [{ header: { place: place("in/none") } }], "reader");
    expect(codeOf(await refused())).toBe(status.PERMISSION_DENIED);
    const before = timers();
    for (let round = 0; round < 40; round++) await refused();
    expect(timers() - before).toBeLessThan(20);
  });

  test("[GRPC-11] a call whose deadline was over before it began does not begin, and keeps no place from others", async () => {
    const { hostname, port } = new URL(lab.hub.doors[0]!.replace("grpc:", "http:"));
    const frame = (type: number, flags: number, stream: number, body: Buffer): Buffer => {
      const head = Buffer.alloc(9);
      head.writeUIntBE(body.length, 0, 3);
      head.writeUInt8(type, 3);
      head.writeUInt8(flags, 4);
      head.writeUInt32BE(stream, 5);
      return Buffer.concat([head, body]);
    };
    const literal = (name: string, value: string): Buffer =>
      Buffer.concat([Buffer.of(0, name.length), Buffer.from(name), Buffer.of(value.length), Buffer.from(value)]);
    const fields = {
      ":method": "POST", ":scheme": "http", ":path": "/grpc.health.v1.Health/Watch", ":authority": "x",
      "content-type": "application/grpc", te: "trailers", "grpc-timeout": "5m",
    };
    const headers = Buffer.concat(Object.entries(fields).map(([name, value]) => literal(name, value)));
    const streams = Array.from({ length: 100 }, (_, at) => 2 * at + 1);
    for (let connection = 0; connection < 4; connection++) {
      const socket = connect(Number(port), hostname);
      socket.on("error", () => undefined);
      socket.resume();
      await new Promise((resolve) => socket.once("connect", resolve));
      socket.write(Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(4, 0, 0, Buffer.alloc(0))]));
      // The question, and when its deadline is over the word that this was all of it.
      socket.write(Buffer.concat(streams.flatMap((stream) => [frame(1, 4, stream, headers), frame(0, 0, stream, Buffer.alloc(5))])));
      await Bun.sleep(30);
      socket.write(Buffer.concat(streams.map((stream) => frame(0, 1, stream, Buffer.alloc(0)))));
      await Bun.sleep(20);
      socket.destroy();
    }
    expect(await watchedHealth()).toMatchObject({ status: "SERVING" });
  });

  test("[GRPC-55] who watches the hub's health from one address keeps nobody else from it", async () => {
    const { hostname, port } = new URL(lab.hub.doors[0]!.replace("grpc:", "http:"));
    const crowd: ClientHttp2Session[] = [];
    const ask = { ":method": "POST", ":path": "/grpc.health.v1.Health/Watch", "content-type": "application/grpc", te: "trailers" };
    const seen = { heard: 0, ended: 0 };
    for (let connection = 0; connection < 3; connection++) {
      const createConnection = () => connect({ host: hostname, port: Number(port), localAddress: "127.0.0.3" });
      const session = connectHttp2(`http://${hostname}:${port}`, { createConnection });
      session.on("error", () => undefined);
      crowd.push(session);
      for (let at = 0; at < 90; at++) {
        const stream = session.request(ask);
        stream.on("error", () => undefined).on("close", () => seen.ended++).once("data", () => seen.heard++);
        stream.end(Buffer.alloc(5));
      }
    }
    while (seen.heard + seen.ended < 256) await Bun.sleep(5);
    expect(await watchedHealth()).toMatchObject({ status: "SERVING" });
    for (const session of crowd) session.destroy();
  });
});
