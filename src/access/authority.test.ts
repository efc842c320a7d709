import { describe, expect, test } from "bun:test";
import { X509Certificate, createPrivateKey, generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { issueCertificate, makeCertificate, makeKeyPair } from "#platform/net/certificate.ts";
import { SimRandom } from "#testing/sim-random.ts";
import { AccessWorld, BY, StillClock, codeOf, refusal, requestOf } from "#access/access-fixture.ts";
import { AUTHORITY_DAYS, Authority, CERTIFICATE_BYTES_MAX, HOST_DAYS, SERVER_DAYS, keyHashOf, needsRenewal } from "#access/authority.ts";
import { provePossession } from "#access/possession.ts";
import { ACCESS_MIGRATIONS } from "#access/schema.ts";
import { migrate } from "#platform/sql/migrate.ts";
import { openSqlite } from "#platform/sql/sqlite.ts";

const DAY_MS = 86_400_000;
const FROM = { address: "192.0.2.1" };

class Keys implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), "syncline-authority-"));
  readonly clock = new StillClock();

  open(seed = 1): Authority {
    return Authority.open(this.directory, this.clock, new SimRandom(seed).asRandom());
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

describe("the authority", () => {
  test("[CA-1] it is made once, in a file for its owner only, and is the same at every start", () => {
    using keys = new Keys();
    const first = keys.open();
    const file = join(keys.directory, "authority.pem");
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(keys.open(2).certificate).toBe(first.certificate);
    const parsed = new X509Certificate(first.certificate);
    expect([parsed.ca, parsed.verify(parsed.publicKey), parsed.validToDate.getTime()]).toEqual([true, true, keys.clock.nowMs() + AUTHORITY_DAYS * DAY_MS]);
    expect(first.fingerprint).toBe(`SHA256:${parsed.fingerprint256.replaceAll(":", "").toLowerCase()}`);
    const good = readFileSync(file, "utf8");
    const foreign = makeKeyPair().pem;
    for (const bad of ["", "rubbish", good.slice(0, 400), first.certificate + foreign]) {
      writeFileSync(file, bad);
      expect(() => keys.open()).toThrow("certificate authority cannot be used");
      expect(readFileSync(file, "utf8")).toBe(bad);
    }
  });

  test("[CA-2] the hub's certificate is for its names, kept, and made anew when a third of its life is left or names change", () => {
    using keys = new Keys();
    const authority = keys.open();
    const names = ["hub.example", "192.0.2.7", "2001:db8::1", "localhost"];
    const { identity, isNew, untilMs } = authority.serverIdentity(names);
    expect(isNew).toBe(true);
    const parsed = new X509Certificate(identity.certificate);
    expect(parsed.verify(new X509Certificate(authority.certificate).publicKey)).toBe(true);
    expect(parsed.checkPrivateKey(createPrivateKey(identity.key))).toBe(true);
    expect([parsed.checkHost("hub.example"), parsed.checkIP("192.0.2.7"), parsed.checkIP("2001:db8::1"), parsed.checkHost("other.example"), parsed.ca]).toEqual(["hub.example", "192.0.2.7", "2001:db8::1", undefined, false]);
    expect(untilMs).toBe(parsed.validToDate.getTime());
    expect(identity.certificate).toEndWith(authority.certificate);
    expect(keys.open(2).serverIdentity(names)).toEqual({ identity, isNew: false, untilMs });
    expect(authority.serverIdentity(names.toReversed()).isNew).toBe(false);
    keys.clock.pass(Math.floor((SERVER_DAYS * 2 * DAY_MS) / 3) - 2 * DAY_MS);
    expect(authority.serverIdentity(names).isNew).toBe(false);
    keys.clock.pass(3 * DAY_MS);
    const renewed = authority.serverIdentity(names);
    expect([renewed.isNew, renewed.identity.key === identity.key]).toEqual([true, false]);
    expect(authority.serverIdentity(["hub.example"]).isNew).toBe(true);
    const file = join(keys.directory, "server.pem");
    expect(statSync(file).mode & 0o777).toBe(0o600);
    for (const bad of ["rubbish", renewed.identity.certificate + identity.key, readFileSync(join(keys.directory, "authority.pem"), "utf8")]) {
      writeFileSync(file, bad);
      expect(authority.serverIdentity(["hub.example"]).isNew).toBe(true);
    }
    for (const wrong of [[], ["a b"], ["*.example"], Array.from({ length: 101 }, (_, at) => `h${at}`)]) expect(() => authority.serverIdentity(wrong)).toThrow();
  });

  test("[CA-21] the hub's certificate is made anew when the clock it was made by was ahead, and not when the clock has lost its time", () => {
    using keys = new Keys();
    const authority = keys.open();
    keys.clock.pass(400 * DAY_MS);
    authority.serverIdentity(["hub.example"]);
    keys.clock.pass(-390 * DAY_MS);
    const made = authority.serverIdentity(["hub.example"]);
    const { validFromDate, validToDate } = new X509Certificate(made.identity.certificate);
    expect([made.isNew, validFromDate.getTime() <= keys.clock.nowMs(), keys.clock.nowMs() < validToDate.getTime()]).toEqual([true, true, true]);
    // By such a clock the authority itself is not valid yet: nothing that is made then would be of use when it is right again.
    keys.clock.pass(-20_000 * DAY_MS);
    expect(authority.serverIdentity(["hub.example"])).toEqual({ ...made, isNew: false });
  });

  test("[CA-3] a host's certificate passes: of this authority, in its time, for a host, and nothing else", () => {
    using keys = new Keys();
    using others = new Keys();
    const authority = keys.open();
    const other = others.open(2);
    const pair = makeKeyPair();
    const { certificate, facts } = authority.issueForHost("web1", pair.publicKey);
    const fault = (shown: string | Uint8Array): string => {
      const checked = authority.check(shown);
      return "fault" in checked ? checked.fault : `passes as ${checked.host}`;
    };
    expect(authority.check(certificate)).toEqual(facts);
    expect(authority.check(new X509Certificate(certificate).raw)).toEqual(facts);
    expect(facts).toMatchObject({ host: "web1", issuedMs: keys.clock.nowMs(), untilMs: keys.clock.nowMs() + HOST_DAYS * DAY_MS });
    expect(fault(other.issueForHost("web1", pair.publicKey).certificate)).toBe("not of this hub's authority");
    expect(fault(makeCertificate(["web1"], keys.clock.nowMs()).certificate)).toBe("not of this hub's authority");
    // Another authority that gives itself this one's name.
    const forger = makeKeyPair();
    const issuer = { commonName: new X509Certificate(authority.certificate).subject.slice(3) };
    const forged = issueCertificate(
      { subject: { commonName: "web1", unit: "syncline host" }, issuer, publicKey: pair.publicKey, issuerKey: forger.publicKey, use: "client", names: ["web1"], fromMs: facts.issuedMs, untilMs: facts.untilMs, serial: new Uint8Array(16) },
      forger.privateKey,
    );
    expect(fault(forged)).toBe("not of this hub's authority");
    expect(fault(authority.serverIdentity(["web1"]).identity.certificate)).toBe("not a host's certificate");
    expect(fault(authority.certificate)).toBe("not a host's certificate");
    for (const rubbish of ["", "rubbish", new Uint8Array(0), new Uint8Array(1_000)]) expect(fault(rubbish)).toBe("no certificate");
    expect(fault("x".repeat(CERTIFICATE_BYTES_MAX + 1))).toBe("too large");
    const raw = new X509Certificate(certificate).raw;
    let passed = 0;
    for (let at = 0; at < raw.length; at++) {
      const bent = new Uint8Array(raw);
      bent[at]! ^= 1;
      if (fault(bent).startsWith("passes")) passed++;
    }
    expect(passed).toBe(0);
    keys.clock.pass(-2 * DAY_MS);
    expect(fault(certificate)).toBe("expired, or not valid yet");
    keys.clock.pass(2 * DAY_MS + HOST_DAYS * DAY_MS - 1_000);
    expect(fault(certificate)).toBe("passes as web1");
    keys.clock.pass(1_000);
    expect(fault(certificate)).toBe("expired, or not valid yet");
  });

  test("[CA-4] renewal is due when a third of a life is left", () => {
    expect([needsRenewal(0, 90, 59), needsRenewal(0, 90, 60), needsRenewal(0, 90, 100)]).toEqual([false, true, true]);
  });

  test("[CA-5] a key file that cannot be written is told, and the hub does not start with a key that is nowhere", () => {
    using keys = new Keys();
    writeFileSync(join(keys.directory, "not-a-directory"), "");
    const open = (): Authority => Authority.open(join(keys.directory, "not-a-directory", "keys"), keys.clock, new SimRandom(1).asRandom());
    expect(open).toThrow("certificate authority cannot be used");
  });
});

describe("hosts", () => {
  test("[CA-10] a host joins with a token, gets its labels, and is who its certificate says", async () => {
    await using world = await AccessWorld.open();
    const { access } = world;
    const { value, token } = await access.joinTokens.create(BY, { labels: ["web", "eu", "web"], uses: 2 });
    const enrolled = await access.enrol(value, requestOf("web1"), FROM);
    expect(enrolled).toMatchObject({ authority: access.authority.certificate, labels: ["eu", "web"], untilMs: world.clock.nowMs() + HOST_DAYS * DAY_MS });
    const principal = await access.authenticate({ type: "certificate", certificate: enrolled.certificate });
    expect(principal).toEqual({ id: "agent:web1", kind: "agent", name: "web1", roles: ["agent"], scopes: undefined });
    expect(await access.hosts.page("", 10)).toEqual([{ name: "web1", labels: ["eu", "web"], enrolledMs: world.clock.nowMs(), revokedMs: undefined }]);
    await access.enrol(value, requestOf("web2"), FROM);
    expect(await codeOf(access.enrol(value, requestOf("web3"), FROM))).toBe("AUTH");
    expect((await access.joinTokens.page("", 10))[0]).toEqual({ ...token, usesLeft: 0 });
    expect(await codeOf(access.enrol("wrong", requestOf("web3"), FROM))).toBe("AUTH");
    expect(await access.hosts.get("web3")).toBeUndefined();
  });

  test("[CA-11] an agent touches what its host's links lead to, as they are at that moment", async () => {
    await using world = await AccessWorld.open();
    const { access } = world;
    const { value } = await access.joinTokens.create(BY, {});
    const { certificate } = await access.enrol(value, requestOf("web1"), FROM);
    const principal = await access.authenticate({ type: "certificate", certificate });
    const may = (path: string): boolean => access.decide(principal, "write", { type: "space", space: "demo", path }).allowed;
    expect(may("site")).toBe(false);
    world.links.set("web1", [{ effect: "allow", resource: "space", actions: ["*"], names: ["demo"], prefixes: ["site"] }]);
    expect([may("site/x"), may("other"), access.reaches(principal, "read", "demo", ""), access.reaches(principal, "read", "other", "")]).toEqual([true, false, true, false]);
    expect(access.decide(principal, "manage", { type: "space", space: "demo", path: "site" }).allowed).toBe(false);
    world.links.clear();
    expect(may("site/x")).toBe(false);
  });

  test("[CA-12] a token that expired or was revoked, a key that is not held, and a proof for another name join nothing", async () => {
    await using world = await AccessWorld.open();
    const { access } = world;
    const short = await access.joinTokens.create(BY, { expiresMs: world.clock.nowMs() + 1_000 });
    const long = await access.joinTokens.create(BY, { value: "fedcba9876543210fedcba9876543210" });
    const request = requestOf("web1");
    const stranger = makeKeyPair();
    expect(await codeOf(access.enrol(long.value, { ...request, publicKey: stranger.publicKey }, FROM))).toBe("AUTH");
    expect(await codeOf(access.enrol(long.value, { ...request, host: "web2" }, FROM))).toBe("AUTH");
    expect(await codeOf(access.enrol(long.value, { ...request, proof: new Uint8Array(70) }, FROM))).toBe("AUTH");
    for (const host of ["", "Web1", "a b", "web1\nCN=x", "-x", "x".repeat(64)]) expect(await codeOf(access.enrol(long.value, requestOf(host), FROM))).toBe("USAGE");
    const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
    const spki = new Uint8Array(rsa.publicKey.export({ type: "spki", format: "der" }));
    expect(await codeOf(access.enrol(long.value, { host: "web1", publicKey: spki, proof: provePossession("web1", spki, rsa.privateKey) }, FROM))).toBe("USAGE");
    world.clock.pass(1_000);
    expect(await codeOf(access.enrol(short.value, request, FROM))).toBe("AUTH");
    await access.joinTokens.revoke(BY, long.token.id);
    expect(await codeOf(access.enrol(long.value, request, FROM))).toBe("AUTH");
    expect(await access.hosts.page("", 10)).toEqual([]);
    expect(await codeOf(access.joinTokens.create(BY, { value: "too short" }))).toBe("USAGE");
    expect(await codeOf(access.joinTokens.create(BY, { uses: 0 }))).toBe("USAGE");
    expect(await codeOf(access.joinTokens.create(BY, { labels: ["a b"] }))).toBe("USAGE");
  });

  test("[CA-13] a name is its key's: a token takes nobody's place, and the same key may ask again without a further use", async () => {
    await using world = await AccessWorld.open();
    const { access } = world;
    const { value } = await access.joinTokens.create(BY, { uses: 1 });
    const more = await access.joinTokens.create(BY, { uses: 5 });
    const request = requestOf("web1");
    await access.enrol(value, request, FROM);
    // The answer was lost; the token is used up by this very host.
    const again = await access.enrol(value, request, FROM);
    expect((await access.authenticate({ type: "certificate", certificate: again.certificate })).name).toBe("web1");
    expect(await refusal(access.enrol(more.value, requestOf("web1"), FROM))).toMatchObject({ code: "EXISTS" });
    expect((await access.joinTokens.byValue(more.value))!.usesLeft).toBe(5);
    const two = await Promise.allSettled([access.enrol(more.value, requestOf("db1"), FROM), access.enrol(more.value, requestOf("db1"), FROM)]);
    expect(two.map((one) => one.status).sort()).toEqual(["fulfilled", "rejected"]);
    expect((await access.joinTokens.byValue(more.value))!.usesLeft).toBe(4);
  });

  test("[CA-14] a removed host's certificates are refused at once, and its name is free for another key", async () => {
    await using world = await AccessWorld.open();
    const { access } = world;
    const { value } = await access.joinTokens.create(BY, {});
    const first = await access.enrol(value, requestOf("web1"), FROM);
    const next = requestOf("web1");
    const second = await access.hosts.renew(first.certificate, next, FROM);
    const other = await access.enrol(value, requestOf("web2"), FROM);
    const by = (certificate: string): Promise<unknown> => access.authenticate({ type: "certificate", certificate });
    for (const { certificate } of [first, second, other]) await by(certificate);
    await access.hosts.remove(BY, "web1");
    for (const { certificate } of [first, second]) expect(await codeOf(by(certificate))).toBe("AUTH");
    await by(other.certificate);
    expect(await codeOf(access.hosts.renew(first.certificate, next, FROM))).toBe("AUTH");
    expect(await codeOf(access.hosts.remove(BY, "web1"))).toBe("NOT_FOUND");
    await by((await access.enrol(value, requestOf("web1"), FROM)).certificate);
    for (const { certificate } of [first, second]) expect(await codeOf(by(certificate))).toBe("AUTH");
    await by(other.certificate);
    // It was issued after the backup that the database was put back from, and is refused all the same.
    const later = access.authority.issueForHost("web2", makeKeyPair().publicKey).certificate;
    await by(later);
    await access.hosts.remove(BY, "web2");
    expect(await codeOf(by(later))).toBe("AUTH");
  });

  test("[CA-16] a revoked host's certificates and key are refused at once; its place waits for another key and a token made since", async () => {
    await using world = await AccessWorld.open();
    const { access } = world;
    const by = (certificate: string): Promise<unknown> => access.authenticate({ type: "certificate", certificate });
    const { value, token } = await access.joinTokens.create(BY, { labels: ["web"], uses: 9 });
    const first = await access.enrol(value, requestOf("web1"), FROM);
    const key = requestOf("web1");
    const second = await access.hosts.renew(first.certificate, key, FROM);
    const other = await access.enrol(value, requestOf("web2"), FROM);
    await access.hosts.setLabels(BY, "web1", ["db"]);
    // Issued after the backup that the database was put back from, of a host that it knows and of one that it does not.
    const lost = ["web1", "web9"].map((host) => access.authority.issueForHost(host, makeKeyPair().publicKey).certificate);
    for (const certificate of [first.certificate, second.certificate, ...lost]) await by(certificate);
    world.clock.pass(1_000);
    await access.hosts.revoke(BY, "web1");
    await access.hosts.revoke(BY, "web9");
    for (const certificate of [first.certificate, second.certificate, ...lost]) expect(await codeOf(by(certificate))).toBe("AUTH");
    await by(other.certificate);
    expect(await refusal(by(second.certificate))).toMatchObject({ message: expect.stringContaining("key of this host was revoked") });
    expect(await codeOf(access.hosts.renew(second.certificate, requestOf("web1"), FROM))).toBe("AUTH");
    expect(await access.hosts.get("web1")).toMatchObject({ labels: ["db"], revokedMs: world.clock.nowMs() });

    world.clock.pass(1_000);
    const since = await access.joinTokens.create(BY, { uses: 2 });
    expect(await refusal(access.enrol(value, requestOf("web1"), FROM))).toMatchObject({ code: "DENIED", hint: expect.stringContaining("join-token create") });
    expect(await refusal(access.enrol(value, key, FROM))).toMatchObject({ code: "DENIED", hint: expect.stringContaining("key.pem") });
    expect(await refusal(access.enrol(since.value, key, FROM))).toMatchObject({ code: "DENIED", hint: expect.stringContaining("key.pem") });
    const uses = async (of: string): Promise<number> => (await access.joinTokens.byValue(of))!.usesLeft!;
    expect([await uses(value), await uses(since.value)]).toEqual([token.usesLeft! - 2, 2]);
    const fresh = requestOf("web1");
    const again = await access.enrol(since.value, fresh, FROM);
    expect(again.labels).toEqual(["db"]);
    await by(again.certificate);
    expect(await access.hosts.get("web1")).toMatchObject({ labels: ["db"], revokedMs: undefined });
    // The answer was lost; and from now on the name is this key's.
    await access.enrol(since.value, fresh, FROM);
    expect(await uses(since.value)).toBe(1);
    expect(await codeOf(access.enrol(since.value, requestOf("web1"), FROM))).toBe("EXISTS");
    await by((await access.hosts.renew(again.certificate, fresh, FROM)).certificate);
    expect(await codeOf(by(second.certificate))).toBe("AUTH");

    // A revoked key stays so, also when the host goes; any other takes the name with any token then.
    await access.hosts.remove(BY, "web1");
    expect(await codeOf(access.enrol(since.value, key, FROM))).toBe("DENIED");
    await by((await access.enrol(value, requestOf("web1"), FROM)).certificate);
    const events = await access.audit.page({ action: "host.revoke", resource: "host:web1" }, undefined, 10);
    expect(events).toMatchObject([{ actor: BY.id, outcome: "done", details: '{"revoked":2}' }]);
  });

  test("[CA-22] each key of a host that was revoked stays so, however often it joined anew and was revoked again", async () => {
    await using world = await AccessWorld.open();
    const { access } = world;
    const keys: ReturnType<typeof requestOf>[] = [];
    for (let round = 0; round < 3; round++) {
      const { value } = await access.joinTokens.create(BY, {});
      const key = requestOf("web1");
      const { certificate } = await access.enrol(value, key, FROM);
      await access.authenticate({ type: "certificate", certificate });
      keys.push(key);
      world.clock.pass(1_000);
      await access.hosts.revoke(BY, "web1");
      world.clock.pass(1_000);
    }
    const { value } = await access.joinTokens.create(BY, {});
    for (const key of keys) expect(await codeOf(access.enrol(value, key, FROM))).toBe("DENIED");
    await access.enrol(value, requestOf("web1"), FROM);
  });

  test("[CA-22] a key that an earlier version of the hub has revoked stays so", async () => {
    const directory = mkdtempSync(join(tmpdir(), "syncline-access-"));
    const database = openSqlite(join(directory, "hub.db"));
    await migrate(database, "access", ACCESS_MIGRATIONS.slice(0, 5));
    const key = requestOf("web1");
    const text = "INSERT INTO access_revocations (host, key_hash, revoked_ms) VALUES (?, ?, 5)";
    await database.run(text, ["web1", keyHashOf(key.publicKey)]);
    await database.run(text, ["web2", null]);
    await using world = await AccessWorld.open(1, database);
    const { value } = await world.access.joinTokens.create(BY, {});
    expect(await codeOf(world.access.enrol(value, key, FROM))).toBe("DENIED");
    await world.access.enrol(value, requestOf("web2"), FROM);
    rmSync(directory, { recursive: true });
  });

  test("[CA-16] a renewal that is under way while its host is revoked gives no certificate", async () => {
    await using world = await AccessWorld.open();
    const { access } = world;
    const { value } = await access.joinTokens.create(BY, {});
    const { certificate } = await access.enrol(value, requestOf("web1"), FROM);
    const revoked = access.hosts.revoke(BY, "web1");
    const renewed = access.hosts.renew(certificate, requestOf("web1"), FROM);
    await revoked;
    expect(await codeOf(renewed)).toBe("AUTH");
  });

  test("[CA-15] a host renews with its old certificate, for its own name and a key it holds", async () => {
    await using world = await AccessWorld.open();
    const { access } = world;
    const { value } = await access.joinTokens.create(BY, { labels: ["web"] });
    const { certificate } = await access.enrol(value, requestOf("web1"), FROM);
    world.clock.pass(60 * DAY_MS);
    await access.hosts.setLabels(BY, "web1", ["db"]);
    expect(await codeOf(access.hosts.renew(certificate, requestOf("web2"), FROM))).toBe("AUTH");
    expect(await codeOf(access.hosts.renew(certificate, { ...requestOf("web1"), publicKey: makeKeyPair().publicKey }, FROM))).toBe("AUTH");
    const renewed = await access.hosts.renew(certificate, requestOf("web1"), FROM);
    expect(renewed).toMatchObject({ labels: ["db"], untilMs: world.clock.nowMs() + HOST_DAYS * DAY_MS });
    world.clock.pass(60 * DAY_MS);
    expect(await codeOf(access.authenticate({ type: "certificate", certificate }))).toBe("AUTH");
    expect((await access.authenticate({ type: "certificate", certificate: renewed.certificate })).name).toBe("web1");
    expect(await codeOf(access.hosts.renew(certificate, requestOf("web1"), FROM))).toBe("AUTH");
  });
});
