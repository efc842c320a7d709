import { describe, expect, test } from "bun:test";
import { once } from "node:events";
import { type Socket, connect } from "node:net";
import fc from "fast-check";
import { parseHead } from "#platform/net/http1/head.ts";
import { framingOf } from "#platform/net/http1/incoming.ts";
import type { Http1Answer, Http1Request } from "#platform/net/http1/connection.ts";
import { type Http1Server, serveHttp1 } from "#platform/net/http1/server.ts";

const head = (...lines: string[]) => parseHead(["GET /a HTTP/1.1", "Host: h", ...lines].join("\r\n"));

/** Sends bytes as they are, and gives what came back until the other side ends. */
async function raw(port: number, pieces: readonly (string | Uint8Array)[]): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let text = "";
  const decoder = new TextDecoder("latin1");
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: {
      data: (_, bytes) => void (text += decoder.decode(bytes)),
      close: () => resolve(text),
      error: () => resolve(text),
    },
  });
  for (const piece of pieces) {
    socket.write(piece);
    socket.flush();
    if (pieces.length < 200) await Bun.sleep(0);
  }
  return promise;
}

/** Says what it was asked. */
async function echo({ method, target, headers, body }: Http1Request): Promise<Http1Answer> {
  if (target === "/refused") return { status: 403, headers: [], body: Buffer.from("no") };
  if (target === "/short") return { status: 200, headers: [], body: { length: 10, pieces: gone() } };
  const pieces: Uint8Array[] = [];
  for (let piece = await body.read(); piece !== undefined; piece = await body.read()) pieces.push(piece);
  const text = `${method} ${target} ${headers.get("x-a") ?? ""} ${Buffer.concat(pieces).toString()}\n`;
  return { status: 200, headers: [], body: Buffer.from(text) };
}

async function* gone(): AsyncGenerator<Uint8Array, void> {
  yield Buffer.from("12345");
  throw new Error("the rest is gone");
}

async function served(work: (server: Http1Server) => Promise<void>): Promise<void> {
  const server = serveHttp1({ host: "127.0.0.1", port: 0, tls: undefined, handle: echo, connectionsMax: 100 });
  try {
    await work(server);
  } finally {
    await server.stop(100);
  }
}

describe("the head of a request", () => {
  test("[HTTP-1] what could be read in two ways is refused", () => {
    const bad = [
      ["Content-Length: 1", "Content-Length: 1"], ["Content-Length: 1", "Transfer-Encoding: chunked"], ["Content-Length: +1"],
      ["Content-Length: 1,1"], ["Transfer-Encoding: gzip, chunked"], ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
      ["X A: b"], ["X-A : b"], [" X-A: b"], ["X-A: a\u0000b"], ["X-A: a\nb: c"], ["no colon"], ["Host: two"], [": empty"], ["Expect: other"],
    ];
    for (const lines of bad) expect([lines, "why" in head(...lines)]).toEqual([lines, true]);
    for (const line of ["GET /a", "get /a HTTP/1.1", "GET  /a HTTP/1.1", "GET /a HTTP/2.0", "GET a HTTP/1.1", "GET /a#b HTTP/1.1"]) {
      expect([line, "why" in parseHead(`${line}\r\nHost: h`)]).toEqual([line, true]);
    }
    expect("why" in parseHead("GET /a HTTP/1.1")).toBe(true);
    expect("why" in head(...Array.from({ length: 201 }, (_, at) => `X-${at}: a`))).toBe(true);
  });

  test("[HTTP-2] target and values stay as they were sent", () => {
    const parsed = parseHead("PUT /a//%2e%2e/b?x=%20+&y HTTP/1.1\r\nHost: h:1\r\nX-A:  a  b\t\r\nx-a: c\r\nExpect: 100-continue\r\nContent-Length: 5");
    expect(parsed).toMatchObject({ method: "PUT", target: "/a//%2e%2e/b?x=%20+&y", framing: 5, keepAlive: true, waitsForLeave: true });
    expect("headers" in parsed && parsed.headers.get("x-a")).toBe("a  b,c");
    expect(parseHead("GET http://h/a?b HTTP/1.1\r\nHost: h")).toMatchObject({ target: "/a?b" });
    fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => void parseHead(text)));
  });
});

test("[HTTP-11] no byte of a value or a target is lost, also where it would be a blank by itself", () => {
  for (let byte = 0x80; byte <= 0xff; byte++) {
    const text = String.fromCharCode(byte);
    const value = `${text}voil\u00c3${text}`;
    const parsed = parseHead(`GET /${text} HTTP/1.1\r\nHost: h\r\nX-A: \t${value}\t `);
    expect([byte, "headers" in parsed && [parsed.target, parsed.headers.get("x-a")]]).toEqual([byte, [`/${text}`, value]]);
  }
});

describe("the body of a request", () => {
  const chunked = Buffer.from("5;ext=1\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: x\r\n\r\nGET ");

  test("[HTTP-3] ends where it ends, however the bytes come", () => {
    for (let first = 0; first <= chunked.length; first++) {
      const framing = framingOf("chunked");
      let text = "";
      let taken = 0;
      for (const part of [chunked.subarray(0, first), chunked.subarray(first)]) {
        taken += framing.push(part, (piece) => void (text += Buffer.from(piece).toString()));
      }
      expect([text, taken, framing.done]).toEqual(["hello!", chunked.length - 4, true]);
    }
    for (const bad of ["x\r\n", "5\nhello", "-1\r\n", "5\r\nhelloX\r\n", `${"0".repeat(20)}\r\n`, ` 5\r\n`, `0\r\n${"a: b\r\n".repeat(2000)}`]) {
      expect(() => framingOf("chunked").push(Buffer.from(bad), () => undefined)).toThrow();
    }
    fc.assert(fc.property(fc.array(fc.uint8Array({ maxLength: 30 })), (pieces) => {
      const framing = framingOf("chunked");
      try {
        for (const piece of pieces) framing.push(piece, () => undefined);
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
      }
    }));
  });
});

describe("a connection", () => {
  const both =
    "PUT /one HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcPUT /two HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" +
    "3\r\ndef\r\n0\r\n\r\nGET /three HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

  test("[HTTP-4] answers requests in order, whole or byte by byte", () => served(async ({ port }) => {
    for (const pieces of [[both], [...both]]) {
      const text = await raw(port, pieces);
      expect([...text.matchAll(/^(PUT|GET) .*$/gm)].map(([line]) => line.trim())).toEqual(["PUT /one  abc", "PUT /two  def", "GET /three"]);
    }
  }));

  test("[HTTP-5] gives leave to send a body when it is wanted, and a refusal instead when it is not", () => served(async ({ port }) => {
    const ask = (target: string): string => `PUT ${target} HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\n`;
    expect(await raw(port, [ask("/refused")])).toMatch(/^HTTP\/1\.1 403 /);
    expect(await raw(port, [ask("/taken"), "abc"])).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK/);
    // Also for nothing: some clients wait for the word, whatever comes behind it.
    const empty = ask("/taken").replace("Length: 3", "Length: 0");
    expect(await raw(port, [empty])).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK/);
  }));

  test("[HTTP-6] takes a short body that nobody wants, and ends behind a long one", () => served(async ({ port }) => {
    const refused = "PUT /refused HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
    const text = await raw(port, [refused, "GET /next HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"]);
    expect(text).toContain("GET /next");
    const long = `PUT /refused HTTP/1.1\r\nHost: h\r\nContent-Length: ${1 << 30}\r\n\r\nabc`;
    expect(await raw(port, [long])).toMatch(/^HTTP\/1\.1 403 [^]*connection: close/);
  }));

  test("[HTTP-7] an answer that cannot be finished is cut off, never padded or passed for whole", () => served(async ({ port }) => {
    const text = await raw(port, ["GET /short HTTP/1.1\r\nHost: h\r\n\r\n"]);
    expect(text).toContain("content-length: 10");
    expect(text.endsWith("12345")).toBe(true);
  }));

  test("[HTTP-9] answers that go out together are each its own client's, also where one of them is gone", () => served(async ({ port }) => {
    const ask = (at: number): string => `GET /of-${at} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n`;
    const leaving = Array.from({ length: 20 }, (_, at) => Bun.connect({
      hostname: "127.0.0.1", port,
      socket: { open: (socket) => void (socket.write(ask(1000 + at)), socket.terminate()), data: () => undefined },
    }));
    const texts = await Promise.all(Array.from({ length: 40 }, (_, at) => raw(port, [ask(at)])));
    await Promise.all(leaving);
    for (const [at, text] of texts.entries()) expect(text).toEndWith(`\r\n\r\nGET /of-${at}  \n`);
  }));

  test("[HTTP-10] long answers are whole, in order and as slow as the client, and what is left goes with the client", async () => {
    const whole = new Uint8Array(24 << 20);
    for (let at = 0; at < whole.length; at += 65_536) crypto.getRandomValues(whole.subarray(at, at + 65_536));
    const lengths = [3 << 20, 100, 4 << 20, 200_000, 1, 9 << 20];
    const ended: Promise<void>[] = [];
    const length = lengths.reduce((sum, one) => sum + one, 0);
    // Bytes are other bytes as soon as the one behind the next is asked for.
    async function* pieces(): AsyncGenerator<Uint8Array, void> {
      const end = Promise.withResolvers<void>();
      ended.push(end.promise);
      const given: Uint8Array[] = [];
      try {
        for (let at = 0, index = 0; index < lengths.length; at += lengths[index++]!) {
          given.push(whole.slice(at, at + lengths[index]!));
          yield given.at(-1)!;
          given.at(-2)?.fill(0);
        }
      } finally {
        end.resolve();
      }
    }
    const handle = async (): Promise<Http1Answer> => ({ status: 200, headers: [], body: { length, pieces: pieces() } });
    const server = serveHttp1({ host: "127.0.0.1", port: 0, tls: undefined, handle, connectionsMax: 100 });
    const ask = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
    const dial = (): Socket => connect({ host: "127.0.0.1", port: server.port }).on("error", () => undefined);
    const slow = dial();
    slow.write(ask + ask);
    const got: Buffer[] = [];
    let count = 0;
    slow.pause();
    const leaving = dial();
    leaving.write(ask);
    leaving.once("data", () => leaving.destroy());
    await once(leaving, "close");
    slow.on("data", (bytes: Buffer) => {
      got.push(bytes);
      count += bytes.length;
    });
    slow.resume();
    const heads = 2 * `HTTP/1.1 200 OK\r\ncontent-length: ${length}\r\n\r\n`.length;
    while (count < 2 * length + heads) await once(slow, "data");
    slow.destroy();
    const answers = Buffer.concat(got).toString("latin1").split(/HTTP\/1\.1 200 OK\r\ncontent-length: \d+\r\n\r\n/).slice(1);
    const expected = Buffer.from(whole.subarray(0, length)).toString("latin1");
    expect(answers.map((answer) => answer === expected)).toEqual([true, true]);
    await Promise.all(ended);
    await server.stop(100);
    expect([ended.length, server.connections]).toEqual([3, 0]);
  }, 30_000);

  test("[HTTP-12] who holds all connections keeps nobody out: one that rests makes room, and none whose request is at work", async () => {
    const go = Promise.withResolvers<void>();
    const handle = async ({ target }: Http1Request): Promise<Http1Answer> => {
      if (target === "/slow") await go.promise;
      return { status: 200, headers: [], body: Buffer.from(`${target}\n`) };
    };
    const server = serveHttp1({ host: "127.0.0.1", port: 0, tls: undefined, handle, connectionsMax: 4 });
    const ask = (target: string): string => `GET ${target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n`;
    const dial = (text: string): Socket => {
      const socket = connect({ host: "127.0.0.1", port: server.port }).on("error", () => undefined);
      socket.write(text);
      return socket;
    };
    try {
      const slow = raw(server.port, [ask("/slow")]);
      while (server.connections < 1) await Bun.sleep(1);
      // Nothing, a head that does not end, and one that was answered and stays.
      const crowd = ["", "GET / HTTP/1.1\r\n", "GET /kept HTTP/1.1\r\nHost: h\r\n\r\n"].map(dial);
      await once(crowd[2]!, "data");
      while (server.connections < 4) await Bun.sleep(1);
      for (const target of ["/one", "/two", "/three", "/four"]) expect(await raw(server.port, [ask(target)])).toEndWith(`${target}\n`);
      go.resolve();
      expect(await slow).toEndWith("/slow\n");
      for (const socket of crowd) socket.destroy();
    } finally {
      await server.stop(100);
    }
  });

  test("[HTTP-8] what is no request is refused in words, and the connection ends", () => served(async ({ port }) => {
    expect(await raw(port, ["nonsense\r\n\r\n"])).toMatch(/^HTTP\/1\.1 400 /);
    expect(await raw(port, ["GET / HTTP/1.1\r\nHost: h\r\nX-A: ", "a".repeat(40_000)])).toMatch(/^HTTP\/1\.1 431 /);
    expect(await raw(port, ["PUT /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"])).not.toContain("200");
  }));
});
