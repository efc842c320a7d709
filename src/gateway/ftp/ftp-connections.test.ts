/** The FTP door's connections: TLS in all its orders, load balancers, limits of time and number, and its end. */
import { afterAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { type TLSSocket, connect as secureConnect } from "node:tls";
import type { HubConfig } from "#config/hub-config.ts";
import { makeKeyPair } from "#platform/net/certificate.ts";
import { openHost } from "#platform/host-bun.ts";
import { enrol } from "#agent/hub-client.ts";
import { SynclineError } from "#model/error.ts";
import { Bandwidth } from "#gateway/ftp/bandwidth.ts";
import { FtpLab, PASSWORD } from "#gateway/ftp/ftp-fixture.ts";
import { ftpSettings } from "#gateway/ftp/ftp-settings.ts";

const labs: FtpLab[] = [];
async function labOf(config: HubConfig = {}): Promise<FtpLab> {
  const lab = await FtpLab.open(config);
  labs.push(lab);
  return lab;
}
afterAll(async () => {
  for (const lab of labs) await lab[Symbol.asyncDispose]();
});

describe("TLS", () => {
  test("[FTP-40] what was sent in clear behind AUTH is never heard, and who was signed in is forgotten", async () => {
    const lab = await labOf();
    const client = await lab.signedIn();
    client.write("AUTH TLS\r\nMKD /demo/injected\r\n");
    expect(await client.reply()).toStartWith("234 ");
    // The injected line is no TLS: either it is dropped or the handshake fails, and nothing is made.
    await Bun.sleep(50);
    expect(await lab.bytes("/demo/injected")).toBeUndefined();
    const other = await lab.signedIn();
    await other.secure();
    expect(await other.code("PWD")).toBe(530);
    expect(await other.code("AUTH TLS")).toBe(503);
    expect(await other.code("CCC")).toBe(534);
    expect(await other.code("PROT S")).toBe(536);
    expect(await other.signIn("admin")).toStartWith("230 ");
  });

  test("[FTP-41] files go both ways in TLS, explicit and implicit, and a cut stream is no whole file", async () => {
    const lab = await labOf();
    const bytes = randomBytes(2 << 20);
    const client = await lab.client();
    await client.secure();
    await client.signIn("admin");
    await client.say("TYPE I");
    expect(await client.send("STOR /demo/tls.bin", bytes)).toStartWith("226 ");
    expect((await client.receive("RETR /demo/tls.bin")).bytes.equals(bytes)).toBe(true);
    // A TLS client over a relay of ours, which ends the stream under it.
    const port = Number(/\|\|\|(\d+)\|/.exec(await client.say("EPSV"))?.[1]);
    const far = connect({ host: "127.0.0.1", port });
    expect(await client.code("STOR /demo/tls.bin")).toBe(150);
    const relay = createServer((near) => {
      near.on("data", (data) => far.write(data)).on("error", () => undefined);
      far.on("data", (data) => near.write(data)).on("error", () => undefined);
    });
    relay.listen(0, "127.0.0.1");
    await once(relay, "listening");
    const inner = secureConnect({ host: "127.0.0.1", port: (relay.address() as { port: number }).port, rejectUnauthorized: false });
    inner.on("error", () => undefined);
    await once(inner, "secureConnect");
    inner.write(Buffer.alloc(1000));
    await Bun.sleep(50);
    far.end();
    expect(await client.reply()).toStartWith("426 ");
    expect((await lab.bytes("/demo/tls.bin"))?.equals(bytes)).toBe(true);
    relay.close();
    const implicit = secureConnect({ host: "127.0.0.1", port: lab.securePort, rejectUnauthorized: false });
    const [greeting] = (await once(implicit, "data")) as [Buffer];
    expect(greeting.toString()).toStartWith("220 ");
    implicit.write("STAT\r\n");
    expect(String((await once(implicit, "data"))[0])).toContain("data connections in TLS");
    implicit.destroy();
  });

  test("[FTP-51] who begins the handshake before the command hears of the transfer when it is done, all others at once", async () => {
    const lab = await labOf();
    const client = await lab.client();
    await client.secure();
    await client.signIn("admin");
    for (const isEarly of [true, false]) {
      const port = Number(/\|\|\|(\d+)\|/.exec(await client.say("EPSV"))?.[1]);
      const under = connect({ host: "127.0.0.1", port });
      await once(under, "connect");
      let isSecured = false;
      const handshake = async (): Promise<TLSSocket> => {
        const data = secureConnect({ socket: under, rejectUnauthorized: false });
        await once(data, "secureConnect");
        isSecured = true;
        return data;
      };
      const early = isEarly ? handshake() : undefined;
      // Its first flight is on its way.
      await Bun.sleep(20);
      expect(await client.code("STOR /demo/early")).toBe(150);
      expect(isSecured).toBe(isEarly);
      const data = await (early ?? handshake());
      data.end("text");
      expect(await client.reply()).toStartWith("226 ");
      expect(String(await lab.bytes("/demo/early"))).toBe("text");
    }
  });

  test("[FTP-52] an upload that is refused when all has come closes its connection in order", async () => {
    const lab = await labOf();
    const client = await lab.signedIn();
    await client.say("ALLO 10");
    const data = await client.begin("STOR /demo/short", "12345");
    const errors: Error[] = [];
    data.on("error", (error) => errors.push(error));
    const ended = once(data, "end");
    data.resume().end();
    expect(await client.reply()).toStartWith("426 ");
    await ended;
    expect(errors).toEqual([]);
  });

  test("[FTP-42] where the TLS session must be resumed, a new one and another client's are refused", async () => {
    const lab = await labOf({ ftpDataSession: "require" });
    const [ann, bob] = [await lab.client(), await lab.client()];
    for (const client of [ann, bob]) {
      await client.secure();
      await client.signIn("admin");
    }
    const own = ann.ticket;
    expect(own).toBeDefined();
    expect((await ann.receive("LIST /demo")).reply).toStartWith("226 ");
    ann.ticket = undefined;
    expect((await ann.receive("LIST /demo")).reply).toStartWith("522 ");
    ann.ticket = bob.ticket;
    expect((await ann.receive("LIST /demo")).reply).toStartWith("522 ");
    ann.ticket = own;
    expect((await ann.receive("LIST /demo")).reply).toStartWith("226 ");
  });

  test("[FTP-43] where TLS is required, nothing of a password is asked for in clear, and no file goes in clear", async () => {
    const lab = await labOf({ ftpTls: "always" });
    const client = await lab.client();
    expect(await client.say("USER admin")).toStartWith("530 TLS");
    expect(await client.code(`PASS ${PASSWORD}`)).toBe(530);
    await client.secure();
    expect(await client.code("PROT C")).toBe(534);
    const half = await lab.client();
    await half.secure({});
    await half.signIn("admin");
    expect((await half.receive("LIST /demo")).reply).toStartWith("226 ");
  });

  test("[FTP-44] a host's certificate signs in without a password, for its own name alone", async () => {
    const lab = await labOf();
    const made = await lab.api.ask("/v1/join-tokens", { method: "POST", json: {} });
    const { value: token } = (await made.json()) as { value: string };
    const { pem: key } = makeKeyPair();
    const { clock } = openHost();
    const address = { host: "127.0.0.1", port: lab.api.hub.syncPort, kind: "sync" } as const;
    const join = { address, name: "web1", token, key, fingerprint: undefined, acceptNew: true, reach: { program: "test", clock } };
    const { certificate } = await enrol(join, new AbortController().signal);
    const client = await lab.client();
    await client.secure({ cert: certificate, key });
    expect(await client.say("USER web2")).toStartWith("331 ");
    expect(await client.say("USER web1")).toStartWith("232 ");
    expect(await client.code("PWD")).toBe(257);
  });
});

describe("load balancers", () => {
  test("[FTP-45] a balancer's header says who comes, on control and data connections, and is asked of nobody else", async () => {
    const lab = await labOf({ ftpProxies: ["127.0.0.1"], ftpPassiveAddress: "203.0.113.5" });
    const header = "PROXY TCP4 127.0.0.99 198.51.100.1 4000 21\r\n";
    const client = await lab.client("127.0.0.1", `${header}USER admin\r\n`);
    expect(await client.reply()).toStartWith("331 ");
    expect(await client.say(`PASS ${PASSWORD}`)).toStartWith("230 ");
    expect(await client.say("STAT")).toContain("Connected to 127.0.0.99");
    expect(await client.say("PASV")).toContain("(203,0,113,5,");
    expect(await client.code("PORT 127,0,0,1,200,1")).toBe(504);
    const port = Number(/\|\|\|(\d+)\|/.exec(await client.say("EPSV"))?.[1]);
    for (const [source, isTaken] of [["127.0.0.98", false], ["127.0.0.99", true]] as const) {
      const data = connect({ host: "127.0.0.1", port });
      const closed = new Promise<void>((done) => data.on("close", () => done()));
      data.on("error", () => undefined);
      data.write(`PROXY TCP4 ${source} 198.51.100.1 4001 ${port}\r\n`);
      if (!isTaken) {
        await closed;
        continue;
      }
      data.resume();
      await Bun.sleep(20);
      expect(await client.code("LIST /demo")).toBe(150);
      expect(await client.reply()).toStartWith("226 ");
    }
    const liar = connect({ host: "127.0.0.1", port: lab.port, localAddress: "127.0.0.3" });
    liar.write(header);
    expect(String((await once(liar, "data"))[0])).toStartWith("220 ");
    expect(String((await once(liar, "data"))[0])).toStartWith("500 ");
    liar.destroy();
    // A client that begins its handshake at once: the balancer sends header and hello in one piece.
    const balancer = createServer((near) => {
      const far = connect({ host: "127.0.0.1", port: lab.securePort });
      near.once("data", (hello: Buffer) => {
        far.write(Buffer.concat([Buffer.from(header), hello]));
        near.on("data", (data: Buffer) => far.write(data)).on("error", () => undefined);
      });
      far.on("data", (data: Buffer) => near.write(data)).on("error", () => undefined).on("close", () => near.destroy());
    });
    balancer.listen(0, "127.0.0.1");
    await once(balancer, "listening");
    const implicit = secureConnect({ host: "127.0.0.1", port: (balancer.address() as { port: number }).port, rejectUnauthorized: false });
    expect(String((await once(implicit, "data"))[0])).toStartWith("220 ");
    implicit.write("STAT\r\nQUIT\r\n");
    expect(String((await once(implicit, "data"))[0])).toContain("Connected to 127.0.0.99");
    await once(implicit, "close");
    balancer.close();
    const bare = connect({ host: "127.0.0.1", port: lab.port });
    bare.on("error", () => undefined);
    bare.write("USER admin\r\n");
    await new Promise<void>((done) => bare.on("close", () => done()));
  });
});

describe("limits", () => {
  test("[FTP-46] a range of ports serves any number of clients, one at a time for each address", async () => {
    const free = createServer().listen(0, "127.0.0.1");
    await once(free, "listening");
    const { port: first } = free.address() as AddressInfo;
    await new Promise((closed) => free.close(closed));
    const lab = await labOf({ ftpPassivePorts: `${first}-${first}` });
    const [ann, bob] = [await lab.signedIn(), await lab.client("127.0.0.2")];
    await bob.signIn("writer");
    expect(await ann.say("EPSV")).toContain(`|||${first}|`);
    expect(await bob.say("EPSV")).toContain(`|||${first}|`);
    const third = await lab.signedIn();
    expect(await third.code("EPSV")).toBe(425);
    // The newer wish takes the place of the older, and a transfer gives it back.
    expect((await ann.receive("NLST /")).reply).toStartWith("226 ");
    expect((await bob.receive("NLST /")).bytes.toString()).toBe("demo\r\n");
    expect((await third.receive("NLST /")).reply).toStartWith("226 ");
  });

  test("[FTP-47] who asks nothing is sent away, and a transfer in which nothing moves is aborted, and it alone", async () => {
    const lab = await labOf({ ftpIdle: "1s", ftpStall: "1s" });
    const client = await lab.signedIn();
    const idle = await lab.signedIn();
    const data = await client.begin("STOR /demo/stalled", "some bytes");
    expect(await client.reply()).toStartWith("426 Nothing moved");
    data.destroy();
    expect(await client.code("NOOP")).toBe(200);
    expect(await idle.reply()).toStartWith("421 ");
    expect(await idle.reply()).toBe("");
    expect(await lab.bytes("/demo/stalled")).toBeUndefined();
  }, 20_000);

  test("[FTP-48] a user's rate holds over all transfers together, and others are not slowed", async () => {
    let nowMs = 0;
    const slept: number[] = [];
    const clock = { nowMs: () => nowMs, monotonicMs: () => nowMs, sleep: async (ms: number) => void ((nowMs += ms), slept.push(ms)) };
    const bandwidth = new Bandwidth(new Map([["ann", 1000], ["*", 1_000_000]]), clock);
    const never = new AbortController().signal;
    let moved = 0;
    while (nowMs < 60_000) {
      await bandwidth.take("ann", "in", 700, never);
      await bandwidth.take("ann", "in", 300, never);
      moved += 1000;
    }
    expect(moved).toBeGreaterThanOrEqual(59_000);
    expect(moved).toBeLessThanOrEqual(62_000);
    expect(Math.max(...slept)).toBeLessThanOrEqual(1000);
    expect(bandwidth.take("ann", "out", 200, never)).toBeUndefined();
    expect(bandwidth.take("bob", "in", 200_000, never)).toBeUndefined();
    expect(new Bandwidth(new Map(), clock).take("ann", "in", 1e12, never)).toBeUndefined();
  });

  test("[FTP-49] settings that mean nothing are refused with their key", () => {
    const wrong: HubConfig[] = [
      { ftpPassivePorts: "60000-50000" }, { ftpPassivePorts: "1-70000" }, { ftpPassiveAddress: "300.1.1.1" },
      { ftpIdle: "10ms" }, { ftpStall: "9w" }, { ftpRates: ["ann=5"] },
    ];
    for (const config of wrong) expect(() => ftpSettings(config)).toThrow(SynclineError);
    expect(ftpSettings({ ftpRates: ["ann=10MiB", "*=1GiB"] }).rates.get("ann")).toBe(10 << 20);
  });

  test("[FTP-50] a door that closes sends idle sessions away, and keeps what has come of an upload that it cuts", async () => {
    const lab = await labOf();
    const idle = await lab.signedIn();
    const client = await lab.signedIn();
    const data = await client.begin("STOR /demo/cut.bin", randomBytes(2 << 20));
    await Bun.sleep(100);
    const closing = lab.api.hub.close();
    expect(await idle.reply()).toStartWith("421 ");
    await closing;
    expect(await client.reply()).toStartWith("42");
    data.destroy();
    await lab.api.start({ listen: "127.0.0.1:0", ftpListen: `127.0.0.1:${lab.port}` }, "");
    const again = await lab.signedIn();
    const size = Number((await again.say("SIZE /demo/cut.bin")).slice(4));
    expect(size).toBeGreaterThan(1 << 20);
  }, 90_000);
});
