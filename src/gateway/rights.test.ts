/** Every operation of every door with every kind of right: what a door does is what access decides, and nothing else. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  type Operation, type Outcome, PEOPLE, Person, RightsLab, TEXT_SHA256, comparable, elsewhereOf, targetOf,
} from "#gateway/rights-fixture.ts";
import { OPERATIONS } from "#gateway/rights-operations.ts";

/** At each of three doors; together the last of them is one too many. */
const GUESSES = [3, 3, 4] as const;

describe("rights at every door", () => {
  let lab: RightsLab;
  beforeAll(async () => {
    lab = await RightsLab.open(OPERATIONS);
  });
  afterAll(async () => {
    await lab[Symbol.asyncDispose]();
  });

  /** What came of it and what should have, in words that name it where it is wrong. */
  async function outcomesOf(operation: Operation, index: number, name: string): Promise<{ found: string[]; wanted: string[] }> {
    const person = lab.person(name);
    const [there, missing] = [targetOf(index, name, "a"), targetOf(index, name, "b")];
    const words = (...all: readonly string[]): string[] => all.map((what) => `${operation.name} by ${name}: ${what}`);
    const before = await lab.sequence();
    const absent = await operation.run(person, missing);
    const between = await lab.sequence();
    const present = await operation.run(person, there);
    const after = await lab.sequence();
    // Whoever may read there may know that nothing is.
    const mayKnow = lab.isAllowed(name, [["read", there.file]]);
    const tells = (outcome: Outcome): string => `tells what is in it: ${!mayKnow && outcome.told.includes(TEXT_SHA256)}`;
    const secret = { found: words(tells(present)), wanted: words("tells what is in it: false") };
    if (lab.seesNothing(name) || !lab.isAllowed(name, operation.needs(there))) {
      const elsewhere = lab.seesNothing(name) ? await operation.run(person, elsewhereOf(there)) : present;
      const like = comparable(present);
      return {
        found: [...secret.found, ...words(present.kind, comparable(mayKnow ? present : absent), `${after - before} changes`, comparable(elsewhere))],
        wanted: [...secret.wanted, ...words("refused", like, "0 changes", like)],
      };
    }
    const [done, changes] = operation.makes === true ? [absent, between - before] : [present, after - between];
    const isRight = operation.reads === true ? changes === 0 : changes > 0;
    return {
      found: [...secret.found, ...words(done.kind, `changes as it should: ${isRight}`), ...(done.kind === "done" ? [] : [done.told])],
      wanted: [...secret.wanted, ...words("done", "changes as it should: true")],
    };
  }

  test.each(PEOPLE)("[RIGHTS-1] %s: what is allowed is done, and nothing else; what is refused tells nothing of what is there", async (name) => {
    const all = [];
    for (const [index, operation] of OPERATIONS.entries()) all.push(await outcomesOf(operation, index, name));
    expect(all.flatMap(({ found }) => found)).toEqual(all.flatMap(({ wanted }) => wanted));
  }, 120_000);

  test("[RIGHTS-2] what came from where somebody may not read tells them not what it was called there", async () => {
    const [, reader] = [lab.person("full"), lab.person("reader")];
    const json = { from: "out/the secret name", to: "in/shown" };
    await lab.api.ask("/v1/spaces/demo/content/out/the%20secret%20name", { method: "PUT", body: "x" });
    expect((await lab.api.ask("/v1/spaces/demo/move", { method: "POST", json })).status).toBe(200);
    for (const address of ["journal.ndjson", "versions/in/shown"]) {
      const { told, kind } = await reader.http("GET", `/v1/spaces/demo/${address}`);
      expect([kind, told.includes("in/shown"), told.includes("secret name")]).toEqual(["done", true, false]);
      expect(await (await lab.api.ask(`/v1/spaces/demo/${address}`)).text()).toContain("secret name");
    }
  });
});

/** Of doors that take credentials with each request; at the others nobody gets further than to sign in. */
const BY_REQUEST = OPERATIONS.filter(({ door }) => door !== "FTP" && door !== "SFTP");

describe("credentials at every door", () => {
  let lab: RightsLab;
  beforeAll(async () => {
    lab = await RightsLab.open(OPERATIONS);
  });
  afterAll(async () => {
    await lab[Symbol.asyncDispose]();
  });

  /** All of the rights, and none of the proofs. */
  async function nobodies(): Promise<Record<string, Person>> {
    const json = { user: "full", name: "old", expires: "2020-01-01T00:00:00Z" };
    const { value } = (await (await lab.api.ask("/v1/tokens", { method: "POST", json })).json()) as { value: string };
    const made = await lab.api.ask("/v1/users/full/s3-keys", { method: "POST", json: {} });
    const key = (await made.json()) as { accessKey: string; secretKey: string };
    expect((await lab.api.ask(`/v1/users/full/s3-keys/${key.accessKey}`, { method: "DELETE" })).status).toBe(204);
    const of = (token: string, secret: string, accessKey = "full"): Person => Object.assign(new Person(lab, "full"), { token, secret, accessKey });
    return { nothing: of("", "wrong"), expired: of(value, "wrong"), revoked: of("x".repeat(40), key.secretKey, key.accessKey) };
  }

  test("[RIGHTS-3] none, expired, revoked and wrong credentials are nobody's, whatever is asked for, and guessing is slowed down", async () => {
    const before = await lab.sequence();
    const kinds = new Map<string, Set<string>>();
    for (const [name, person] of Object.entries(await nobodies())) {
      for (const operation of BY_REQUEST) {
        const { kind, told } = await operation.run(person, targetOf(OPERATIONS.indexOf(operation), "full", "a"));
        // 429, 503: from here too much was guessed by now.
        const isSlowed = /^(429|503)|too many failed/.test(told);
        const what = isSlowed ? "slowed" : kind;
        kinds.set(`${name} ${what}`, (kinds.get(`${name} ${what}`) ?? new Set()).add(operation.name));
      }
    }
    expect([...kinds.keys()].filter((one) => !/(unauthenticated|slowed)$/.test(one)).map((one) => [one, [...kinds.get(one)!]])).toEqual([]);
    expect(await lab.sequence()).toBe(before);
  }, 60_000);

  test("[RIGHTS-4] wrong passwords at all doors count as one: then the right one is not looked at, at any of them", async () => {
    await using fresh = await RightsLab.open(OPERATIONS.slice(0, 1));
    const wrong = new Person(fresh, "reader");
    const viaDav = () => wrong.dav("PROPFIND", "/dav/demo/", { headers: { authorization: `Basic ${btoa("reader:wrong")}` } });
    const viaFtp = async () => (await fresh.ftp.client()).signIn("reader", "wrong");
    const viaSftp = () => fresh.sftp.signedIn("reader", "wrong").catch(() => undefined);
    const right = await fresh.ftp.client();
    await right.say("USER reader");
    for (const [at, guess] of [viaFtp, viaSftp, viaDav].entries()) {
      for (let count = 0; count < GUESSES[at]!; count++) await guess();
    }
    const [dav, ftp, session] = await Promise.all([
      wrong.dav("PROPFIND", "/dav/demo/", { headers: { authorization: `Basic ${btoa("reader:correct horse")}` } }),
      right.say("PASS correct horse"),
      fresh.api.ask("/v1/sessions", { method: "POST", token: "", json: { user: "reader", password: "correct horse" } }),
    ]);
    expect([dav.response.status, ftp.slice(0, 3), session.status]).toEqual([429, "530", 429]);
  }, 60_000);
});
