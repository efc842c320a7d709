/** The real program with a real identity provider: a person with a browser, and a person at a terminal. */
import { describe, expect, test } from "bun:test";
import { Browser, IdentityProvider } from "./identity-provider.ts";
import { PROGRAM, World, freePort } from "./harness.ts";

const TEST_MS_MAX = 120_000;
const START_MS_MAX = 30_000;
const TOKEN = "0123456789abcdef0123456789abcdef";
const BOOTSTRAP = `
spaces: [{name: site}]
groups: [{name: crew, roles: [reader]}]
users: [{name: root, roles: [admin]}]
tokens: [{user: root, value: ${TOKEN}}]
`;

describe("an identity provider", () => {
  test("[OIDC-20] signs people in: in a browser with its page, and from a terminal with a code", async () => {
    await using world = new World();
    const url = `http://127.0.0.1:${await freePort()}`;
    const groups = { ann: ["staff", "admins"], eve: [] };
    await using provider = await IdentityProvider.start(await freePort(), `${url}/v1/oidc/callback`, groups);
    world.write("boot.yaml", BOOTSTRAP);
    world.write("token", TOKEN);
    world.write("secret", "the hub's secret\n");
    world.write(
      "hub.yaml",
      `listen: ${url.slice(7)}\nsyncListen: 127.0.0.1:0\nbootstrap: boot.yaml\n` +
        `oidcIssuer: ${provider.issuer}\noidcClientSecretFile: secret\noidcGroups: [staff=crew]\noidcRoles: [admins=operator]\n`,
    );
    const hub = world.start([PROGRAM, "hub", "--data", world.path("hub"), "--config", "hub.yaml", "--json"]);
    await hub.line((text) => text.includes('"type":"listening"'), START_MS_MAX);
    const more = { SYNCLINE_HUB: url };
    const admin = async (...args: string[]): Promise<string> => {
      const { code, out, err } = await world.run([...args, "--token-file", "token"], more);
      expect([err, code]).toEqual(["", 0]);
      return out;
    };
    await admin("user", "create", "ann", "--oidc", "yes");

    // In a browser.
    const browser = new Browser("ann");
    const page = await browser.open(`${url}/v1/oidc/login?return=/v1/whoami`);
    expect(JSON.parse(page.text)).toMatchObject({ id: "user:ann", roles: ["operator", "reader"] });
    expect(await admin("user", "show", "ann")).toContain("tied to who signed in so");

    // From a terminal: the code is shown, a person enters it elsewhere, the program goes on.
    const login = world.start([PROGRAM, "login", "--json"], more);
    const shown = await login.line((text) => text.includes('"type":"device"'), START_MS_MAX);
    const { verificationUriComplete, userCode } = JSON.parse(shown) as { verificationUriComplete: string; userCode: string };
    expect(verificationUriComplete).toContain(userCode);
    await new Browser("ann").open(verificationUriComplete);
    expect(await login.exited).toBe(0);
    expect((await world.run(["ls", "site"], more)).code).toBe(0);

    // Whom nobody has let in stays out, and is told.
    const stranger = await new Browser("eve").open(`${url}/v1/oidc/login`);
    expect([stranger.status, stranger.text]).toEqual([401, expect.stringContaining("no user of this hub")]);

    // Disabled: the sessions of both are over, and no new one begins.
    await admin("user", "disable", "ann");
    const cookie = `syncline-session=${browser.cookie(url, "syncline-session")}`;
    expect((await fetch(`${url}/v1/whoami`, { headers: { cookie } })).status).toBe(401);
    expect((await world.run(["ls", "site"], more)).code).toBe(3);
    expect((await browser.open(`${url}/v1/oidc/login`)).status).toBe(401);
  }, TEST_MS_MAX);
});
