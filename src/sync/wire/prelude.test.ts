import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { SynclineError } from "#model/error.ts";
import { systemClock } from "#platform/host-bun.ts";
import type { Transport } from "#platform/net/transport.ts";
import { memoryTransports } from "#sync/transport/memory-transport.ts";
import { frameBytes } from "#sync/wire/frame.ts";
import { startClient, startServer } from "#sync/wire/greeting.ts";
import {
  ATTACH_BYTES_MAX,
  PROTOCOL_VERSION_MAX,
  PROTOCOL_VERSION_MIN,
  Prelude,
  encodeAnswer,
  encodeAttach,
  encodeGreeting,
  greet,
} from "#sync/wire/prelude.ts";

const never = new AbortController().signal;
const program = "syncline test";
const greeting = (versionMin: number, versionMax: number) =>
  ({ versionMin, versionMax, program: `other ${versionMax}`, capabilities: new Uint8Array(0) });
const ours = greeting(PROTOCOL_VERSION_MIN, PROTOCOL_VERSION_MAX);

function serve(transport: Transport, admit: (root: string, token: string) => void = () => undefined) {
  return startServer(
    transport,
    {
      program,
      clock: systemClock,
      admit: async ({ root, token }) => {
        admit(root, token);
        return { readOnly: root === "ro", value: root };
      },
    },
    () => (channel) => channel.end(),
    never,
  );
}

const connect = (transport: Transport, root = "www", token = "secret") =>
  startClient(transport, { root, token, program, clock: systemClock }, never);

/** What the server does with bytes from someone who is no client. */
async function refusal(...pieces: Uint8Array[]): Promise<unknown> {
  const { client, server } = memoryTransports();
  const outcome = serve(server).catch((error: unknown) => error);
  for (const piece of pieces) client.write(piece);
  await new Promise((resolve) => setImmediate(resolve));
  client.close();
  return outcome;
}

describe("prelude", () => {
  test("[GREET-0] both sides greet, the client attaches, and calls can begin", async () => {
    const { client, server } = memoryTransports();
    const seen: string[] = [];
    const [a, b] = await Promise.all([connect(client, "ro"), serve(server, (root, token) => seen.push(root, token))]);
    expect(a.attached).toEqual({ readOnly: true });
    expect(b.value).toBe("ro");
    expect(seen).toEqual(["ro", "secret"]);
    expect(await a.mux.open("x").receive()).toBeUndefined();
    a.mux.close();
  });

  test("[GREET-1] frames right behind the attach message are not lost", async () => {
    const { client, server } = memoryTransports();
    const serving = serve(server);
    const attach = encodeAttach({ root: "www", token: "" });
    client.write(Buffer.concat([encodeGreeting(ours), attach, frameBytes(1, 1, Buffer.from("x"))]));
    const { mux } = await serving;
    expect(mux.openChannels).toBe(1);
    mux.close();
  });

  test("[GREET-2] without a common version both sides say VERSION and which they have", async () => {
    const { client, server } = memoryTransports();
    const two = async (transport: Transport, min: number, max: number): Promise<unknown> => {
      const prelude = new Prelude(transport, systemClock, never);
      return greet(prelude, greeting(min, max)).then(({ version }) => version, (error: unknown) => error).finally(() => prelude.fail(new Error("over")));
    };
    const [a, b] = await Promise.all([two(client, 1, 2), two(server, 3, 4)]);
    for (const error of [a, b]) expect(error).toMatchObject({ code: "VERSION", message: expect.stringContaining("3 to 4") });
    const other = memoryTransports();
    expect(await Promise.all([two(other.client, 1, 3), two(other.server, 2, 9)])).toEqual([3, 3]);
  });

  test("[GREET-3] a side that is not syncline is shown by what it said, at its first wrong byte", async () => {
    const { client, server } = memoryTransports();
    const outcome = connect(client).catch((error: unknown) => error);
    server.write(Buffer.from("HTTP\u001b[2J"));
    const error = await outcome;
    expect(error).toMatchObject({ code: "PROTOCOL", message: expect.stringContaining('"HTTP\\x1b[2J"') });
  });

  test("[GREET-4] a refusal reaches the client with code and hint", async () => {
    const { client, server } = memoryTransports();
    const hint = "ask the operator";
    const refuse = (): never => {
      throw new SynclineError({ code: "AUTH", op: "attach", message: "no", hint });
    };
    const serving = serve(server, refuse).catch((error: unknown) => error);
    const error = await connect(client).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: "AUTH", message: "no", hint });
    expect(await serving).toMatchObject({ code: "AUTH" });
  });

  test("[GREET-5] messages of the prelude have a cap, and so has what is held for them", async () => {
    const hello = encodeGreeting(ours);
    expect(await refusal(encodeGreeting({ ...ours, program: "x".repeat(1100) }))).toMatchObject({ code: "PROTOCOL" });
    expect(await refusal(hello, Uint8Array.of(0xff, 0xff))).toMatchObject({ code: "PROTOCOL", message: expect.stringContaining(`${ATTACH_BYTES_MAX}`) });
    expect(await refusal(hello, encodeAttach({ root: "www", token: "x".repeat(1025) }))).toMatchObject({ code: "AUTH" });
    expect(await refusal(hello, new Uint8Array(20_000))).toMatchObject({ code: "PROTOCOL" });
  });

  test("[GREET-6] a side that stalls is given up", async () => {
    const { server } = memoryTransports();
    let wake: (() => void) | undefined;
    const clock = { ...systemClock, sleep: () => new Promise<void>((resolve) => (wake = resolve)) };
    const prelude = new Prelude(server, clock, never);
    const outcome = greet(prelude, ours).catch((error: unknown) => error);
    wake?.();
    expect(await outcome).toMatchObject({ code: "LINK_LOST", retryable: true, message: expect.stringContaining("in time") });
  });

  test("[GREET-7] an abort ends it with the reason", async () => {
    const { client } = memoryTransports();
    const abort = new AbortController();
    const outcome = startClient(client, { root: "", token: "", program, clock: systemClock }, abort.signal).catch((error: unknown) => error);
    const reason = new Error("enough");
    abort.abort(reason);
    expect(await outcome).toBe(reason);
  });

  test("[GREET-8] random and mutated preludes end in a SynclineError, on both sides", async () => {
    const valid = Buffer.concat([encodeGreeting(ours), encodeAttach({ root: "www", token: "secret" })]);
    const answer = Buffer.concat([encodeGreeting(ours), encodeAnswer({ readOnly: false })]);
    const spoiled = (from: Buffer) =>
      fc.tuple(fc.nat(from.length - 1), fc.nat(255), fc.nat(from.length)).map(([at, value, length]) => {
        const bytes = Uint8Array.from(from);
        bytes[at] = value;
        return bytes.subarray(0, length);
      });
    const noise = fc.oneof(fc.uint8Array({ maxLength: 300 }), spoiled(valid), spoiled(answer));
    await fc.assert(
      fc.asyncProperty(noise, fc.boolean(), async (bytes, asClient) => {
        const { client, server } = memoryTransports();
        const [us, them] = asClient ? [client, server] : [server, client];
        const outcome = (asClient ? connect(us) : serve(us)).then(({ mux }) => mux.closed, (error: unknown) => error);
        them.write(bytes);
        await new Promise((resolve) => setImmediate(resolve));
        them.close();
        expect(await outcome).toBeInstanceOf(SynclineError);
      }),
      { numRuns: 300 },
    );
  });
});
