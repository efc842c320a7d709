import { afterAll, afterEach, beforeAll, describe, expect, setSystemTime, test } from "bun:test";
import { AccessWorld, BY, codeOf, refusal } from "#access/access-fixture.ts";
import type { Oidc, Vouched } from "#access/oidc.ts";
import { type Lie, TestProvider } from "#access/oidc-fixture.ts";
import { mapped, merged } from "#access/oidc-users.ts";

const HUB = "https://hub.example.com/v1/oidc/callback";
const FROM = { address: "192.0.2.7" };

describe("the identity provider", () => {
  let provider: TestProvider;
  let world: AccessWorld;
  let oidc: Oidc;

  beforeAll(async () => {
    provider = await TestProvider.open();
    world = await AccessWorld.open();
    ({ oidc } = world.access);
    oidc.use(provider.settings());
  });
  afterEach(() => {
    setSystemTime();
    provider.lie = {};
    provider.skew = 0;
    provider.deviceError = undefined;
    oidc.use(provider.settings());
  });
  afterAll(async () => {
    await provider[Symbol.asyncDispose]();
    await world[Symbol.asyncDispose]();
  });

  async function signIn(): Promise<Vouched & { returnTo: string }> {
    const { url, sealed } = await oidc.begin(HUB, "/there");
    return oidc.finish(sealed, provider.agree(url));
  }

  test("[OIDC-1] vouches for a person, with name and groups; the browser comes back to where it began", async () => {
    expect(await signIn()).toEqual({
      issuer: provider.issuer,
      subject: "subject-of-ann",
      name: "ann",
      groups: ["staff"],
      returnTo: "/there",
    });
  });

  const LIES: readonly (readonly [string, Lie])[] = [
    ["another issuer", { issuer: "https://elsewhere.example.com" }],
    ["another hub", { audience: "another" }],
    ["another sign-in", { nonce: "another" }],
    ["a time that is over", { expires: -300 }],
    ["a key that nobody published", { isForged: true }],
    ["no signature", { isUnsigned: true }],
    ["no name", { claims: { preferred_username: 7 } }],
    ["an answer without end", { isEndless: true }],
  ];
  test.each(LIES)("[OIDC-2] an ID token of %s is not believed", async (_, lie) => {
    provider.lie = lie;
    expect(await codeOf(signIn())).toBe("AUTH");
  });

  test("[OIDC-3] clocks may be a minute apart, and no more", async () => {
    provider.lie = { expires: -50 };
    expect((await signIn()).name).toBe("ann");
    provider.lie = { expires: -70 };
    expect(await codeOf(signIn())).toBe("AUTH");
  });

  test("[OIDC-4] a sign-in is finished once, in its time, by the browser that began it, at the provider it began with", async () => {
    const { url, sealed } = await oidc.begin(HUB, "/");
    const other = await oidc.begin(HUB, "/");
    expect(await codeOf(oidc.finish(other.sealed, provider.agree(url)))).toBe("AUTH");
    expect(await codeOf(oidc.finish(`${sealed}x`, provider.agree(url)))).toBe("AUTH");
    expect(await codeOf(oidc.finish("", provider.agree(url)))).toBe("AUTH");
    const query = provider.agree(url);
    await oidc.finish(sealed, query);
    expect(await codeOf(oidc.finish(sealed, query))).toBe("AUTH");
    const late = await oidc.begin(HUB, "/");
    world.clock.pass(11 * 60_000);
    expect(await codeOf(oidc.finish(late.sealed, provider.agree(late.url)))).toBe("AUTH");
    const moved = await oidc.begin(HUB, "/");
    oidc.use({ ...provider.settings(), issuer: "http://127.0.0.1:9" });
    expect(await codeOf(oidc.finish(moved.sealed, provider.agree(moved.url)))).toBe("AUTH");
    oidc.use(undefined);
    expect(await codeOf(oidc.begin(HUB, "/"))).toBe("UNSUPPORTED");
  });

  test("[OIDC-5] keys are kept, and asked for again when a token is signed with a new one", async () => {
    await signIn();
    const before = provider.keysAsked;
    await signIn();
    expect(provider.keysAsked).toBe(before);
    await provider.rotate();
    setSystemTime(new Date(Date.now() + 61_000));
    expect((await signIn()).name).toBe("ann");
    expect(provider.keysAsked).toBe(before + 1);
  });

  test("[OIDC-6] a program waits until the person has decided", async () => {
    const device = await oidc.beginDevice();
    expect(device).toMatchObject({ userCode: "AB-CD", verificationUri: `${provider.issuer}/page` });
    provider.deviceError = "authorization_pending";
    expect(await oidc.pollDevice(device.handle)).toBeUndefined();
    provider.deviceError = "slow_down";
    expect(await oidc.pollDevice(device.handle)).toBe("slower");
    provider.deviceError = "access_denied";
    expect((await refusal(oidc.pollDevice(device.handle))).message).toContain("refused at the identity provider");
    provider.deviceError = undefined;
    provider.lie = { isForged: true };
    expect(await codeOf(oidc.pollDevice(device.handle))).toBe("AUTH");
    provider.lie = {};
    expect(await oidc.pollDevice(device.handle)).toMatchObject({ name: "ann" });
    world.clock.pass(601_000);
    expect(await codeOf(oidc.pollDevice(device.handle))).toBe("AUTH");
  });

  test("[OIDC-7] a provider that is away is told as such, and asked again", async () => {
    oidc.use({ ...provider.settings(), issuer: "http://127.0.0.1:9" });
    expect((await refusal(oidc.begin(HUB, "/"))).retryable).toBe(true);
    oidc.use(provider.settings());
    expect((await signIn()).name).toBe("ann");
  });
});

describe("people of the provider", () => {
  const vouched = (more: Partial<Vouched> = {}): Vouched => ({ issuer: "https://id", subject: "1", name: "ann", groups: [], ...more });
  const settings = (more: object = {}): ReturnType<TestProvider["settings"]> => ({
    issuer: "https://id",
    clientId: "c",
    clientSecret: undefined,
    scopes: [],
    userClaim: "u",
    groupClaim: "g",
    groups: new Map(),
    roles: new Map(),
    provision: false,
    ...more,
  });

  test("[OIDC-10] nobody becomes a user of the hub by a name alone; who is invited is tied once, and to nobody else", async () => {
    await using world = await AccessWorld.open();
    const { access } = world;
    access.oidc.use(settings());
    await world.user("ann", "admin");
    const signIn = (one: Vouched): Promise<{ user: string }> => access.signInVouched(one, FROM, "");
    expect(await codeOf(signIn(vouched()))).toBe("AUTH");
    expect(await codeOf(signIn(vouched({ name: "bob" })))).toBe("AUTH");
    await access.users.update(BY, "ann", { oidc: true });
    expect((await access.users.get("ann"))!.oidc).toBe("invited");
    expect((await signIn(vouched())).user).toBe("ann");
    expect((await access.users.get("ann"))!.oidc).toBe("tied");
    expect(await codeOf(signIn(vouched({ subject: "2" })))).toBe("AUTH");
    // By the subject, whatever the provider calls it now.
    expect((await signIn(vouched({ name: "renamed" }))).user).toBe("ann");
    expect(await codeOf(signIn(vouched({ issuer: "https://elsewhere" })))).toBe("AUTH");
  });

  test("[OIDC-11] being disabled, untied or removed ends what the provider has opened, tokens with it", async () => {
    await using world = await AccessWorld.open();
    const { access } = world;
    access.oidc.use(settings({ provision: true }));
    const signIn = (): Promise<{ user: string; cookie: string }> => access.signInVouched(vouched(), FROM, "");
    const first = await signIn();
    const { value } = await access.tokens.create(BY, { user: "ann", name: "t" });
    const isIn = async (cookie: string): Promise<boolean> => (await access.sessions.authenticate(cookie)) !== undefined;
    expect([await isIn(first.cookie), (await world.byToken(value)).name]).toEqual([true, "ann"]);
    await access.users.update(BY, "ann", { isDisabled: true });
    expect(await isIn(first.cookie)).toBe(false);
    expect(await codeOf(world.byToken(value))).toBe("AUTH");
    expect((await refusal(signIn())).message).toContain("disabled");
    await access.users.update(BY, "ann", { isDisabled: false });
    const second = await signIn();
    await access.users.update(BY, "ann", { oidc: false });
    expect(await isIn(second.cookie)).toBe(false);
    expect(await codeOf(signIn())).toBe("AUTH");
    // Untied, but the provider has vouched already.
    await access.users.update(BY, "ann", { oidc: true });
    const signing = codeOf(signIn());
    await access.users.update(BY, "ann", { oidc: false });
    expect(await signing).toBe("AUTH");
    expect(await access.sessions.page("ann", "", 10)).toEqual([]);
    await access.users.remove(BY, "ann");
    expect((await signIn()).user).toBe("ann");
    expect((await access.users.get("ann"))!.roles).toEqual([]);
  });

  test("[OIDC-12] groups and roles that the mapping names follow the provider, the others stay", async () => {
    await using world = await AccessWorld.open();
    const { access } = world;
    for (const name of ["crew", "night", "own"]) await access.users.createGroup(BY, name, []);
    await access.users.create(BY, "ann", { roles: ["reader"], groups: ["own", "night"], oidc: true });
    const groups = new Map([["staff", ["crew", "not-made-yet"]], ["late", ["night"]]]);
    access.oidc.use(settings({ groups, roles: new Map([["admins", ["operator"]]]) }));
    await access.signInVouched(vouched({ groups: ["staff", "admins", "else"] }), FROM, "");
    expect(await access.users.get("ann")).toMatchObject({ groups: ["crew", "own"], roles: ["operator", "reader"] });
    await access.signInVouched(vouched({ groups: ["late"] }), FROM, "");
    expect(await access.users.get("ann")).toMatchObject({ groups: ["night", "own"], roles: ["reader"] });
    const before = await access.audit.page({ action: "user.change" }, undefined, 10);
    await access.signInVouched(vouched({ groups: ["late"] }), FROM, "");
    expect(await access.audit.page({ action: "user.change" }, undefined, 10)).toEqual(before);
    expect(merged(["a", "b"], mapped(new Map([["x", ["b", "c"]]]), ["x", "x"]))).toEqual(["a", "b", "c"]);
  });

  test("[OIDC-13] a name that the hub could not have is refused, and told", async () => {
    await using world = await AccessWorld.open();
    world.access.oidc.use(settings({ provision: true }));
    for (const name of ["", "a b", "../x", "a".repeat(65)]) {
      expect(await codeOf(world.access.signInVouched(vouched({ name, subject: `of ${name}` }), FROM, ""))).toBe("AUTH");
    }
    expect((await world.access.signInVouched(vouched({ name: "ann@example.com" }), FROM, "")).user).toBe("ann@example.com");
  });
});
