import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { ApiLab, TOKENS } from "#gateway/api/api-fixture.ts";
import type { ConflictJson } from "#gateway/api/routes-conflicts.ts";
import type { JournalJson, VersionJson } from "#gateway/api/shapes.ts";
import { ConflictClient } from "#gateway/client/conflict-client.ts";
import { HubClient } from "#gateway/client/hub-client.ts";

type Page = { conflicts: ConflictJson[]; sequence: number; nextCursor?: string; left: unknown[]; unanswered: unknown[] };
const COPY = "in/a.conflict-beta-01234567.txt";

describe("conflict copies of a space", () => {
  let lab: ApiLab;
  beforeEach(async () => {
    lab = await ApiLab.open();
  });
  afterEach(() => lab[Symbol.asyncDispose]());

  async function list(query = "", token: string = TOKENS.admin): Promise<Page> {
    const response = await lab.ask(`/v1/spaces/demo/conflicts${query}`, { token });
    if (!response.ok) throw new Error(await response.text());
    return (await response.json()) as Page;
  }
  const post = (path: string, json: unknown, token: string = TOKENS.admin): Promise<Response> =>
    lab.ask(`/v1/spaces/demo/${path}`, { method: "POST", json, token });
  const resolve = (json: object, token?: string): Promise<Response> => post("conflicts/resolve", json, token);
  const isThere = async (path: string): Promise<boolean> => (await lab.ask(`/v1/spaces/demo/entries/${path}`)).ok;

  test("[CONFLICT-1] are listed with what is at the path, and who made the loser, where and when", async () => {
    const first = await lab.put("in/a.txt", "of the one who lost");
    // As a session puts a loser aside: moved in the space, and then the winner takes the path.
    await post("move", { from: "in/a.txt", to: COPY });
    await lab.put("in/a.txt", "of the winner");
    await lab.ask("/v1/spaces/demo/content/in/a.txt", { method: "PUT", body: "edited", token: TOKENS.writer });
    await lab.put("in/b.conflict-alpha-89abcdef", "gone without a winner");
    await lab.put("in/no.conflict-gamma-89abcdef", "none");
    const { conflicts, left, unanswered, sequence } = await list();
    expect(conflicts).toMatchObject([
      {
        path: "in/a.txt", copy: { path: COPY, kind: "file", size: 19 }, current: { path: "in/a.txt", size: 6 },
        lost: { sequence: first.sequence, actor: "user:admin" },
      },
      { path: "in/b", copy: { path: "in/b.conflict-alpha-89abcdef" }, lost: { actor: "user:admin" } },
    ]);
    expect(conflicts[1]!.current).toBeUndefined();
    expect([left, unanswered, sequence]).toEqual([[], [], conflicts[1]!.copy.sequence + 1]);
    // A directory above is moved: it is still known who lost.
    await post("move", { from: "in", to: "moved" });
    expect((await list()).conflicts[0]).toMatchObject({ path: "moved/a.txt", lost: { sequence: first.sequence } });
  });

  test("[CONFLICT-1] page by page, below a path, and only those that the caller may read", async () => {
    const names = ["in/a", "in/b", "in/c", "out/d"].map((path) => `${path}.conflict-beta-01234567`);
    for (const name of names) await lab.put(name, "x");
    const paths = (page: Page): string[] => page.conflicts.map(({ copy }) => copy.path);
    const seen: string[] = [];
    for (let cursor = "", pages = 0; pages < 10; pages++) {
      const page = await list(`?limit=1${cursor}`);
      seen.push(...paths(page));
      if (page.nextCursor === undefined) break;
      cursor = `&cursor=${page.nextCursor}`;
    }
    expect(seen).toEqual(names);
    expect(paths(await list("?below=out"))).toEqual(names.slice(3));
    expect(paths(await list("", TOKENS.reader))).toEqual(names.slice(0, 3));
    expect((await lab.ask("/v1/spaces/demo/conflicts", { token: TOKENS.stranger })).status).toBe(404);
    const client = new HubClient({
      url: lab.hub.url, token: TOKENS.admin, program: "test", traceId: "0".repeat(32), signal: new AbortController().signal,
    });
    const found = await new ConflictClient(client).list("demo", "", 3);
    expect([found.conflicts.length, found.hasMore]).toEqual([3, true]);
  });

  test("[CONFLICT-2] are settled by one commit, which is in the journal and can be taken back", async () => {
    const cases = [
      { keep: "current", now: { "a.txt": "winner" } },
      { keep: "copy", now: { "a.txt": "loser" } },
      { keep: "both", now: { "a.txt": "winner", "a.admin.txt": "loser" } },
      { keep: "both", as: "in/named.txt", now: { "a.txt": "winner", "named.txt": "loser" } },
    ];
    const state = async (): Promise<Record<string, string>> => {
      const { entries } = (await (await lab.ask("/v1/spaces/demo/entries?below=in")).json()) as { entries: VersionJson[] };
      const found: Record<string, string> = {};
      for (const { path, kind } of entries) if (kind === "file") found[path.slice(3)] = await lab.text(path);
      return found;
    };
    await lab.put("in/a.txt", "winner");
    await lab.put(COPY, "loser");
    const before = await state();
    for (const { now, ...decision } of cases) {
      const { sequence } = await list();
      const response = await resolve({ copy: COPY, sequence, message: "looked at", ...decision });
      const { runId, after } = (await response.json()) as { runId: string; before: number; after: number };
      expect([response.status, await state()]).toEqual([200, now]);
      expect((await list()).conflicts).toEqual([]);
      const { records } = (await (await lab.ask(`/v1/spaces/demo/journal?after=${sequence}`)).json()) as { records: JournalJson[] };
      expect(records.at(-1)).toMatchObject({ sequence: after, cause: "conflict", message: "looked at", runId, actor: "user:admin" });
      expect((await post("undo", { runId })).status).toBe(200);
      expect(await state()).toEqual(before);
    }
  });

  test("[CONFLICT-2] also where the loser or the winner is a directory, and where nothing is at the path", async () => {
    await lab.put("in/a.txt/inner", "of a directory that won");
    await lab.put(COPY, "of a file");
    expect((await resolve({ copy: COPY, keep: "copy" })).status).toBe(200);
    expect(await lab.text("in/a.txt")).toBe("of a file");
    await lab.put(`${COPY}/x`, "of a directory that lost");
    expect((await list()).conflicts).toMatchObject([{ copy: { path: COPY, kind: "dir" } }]);
    expect((await resolve({ copy: COPY, keep: "copy" })).status).toBe(200);
    expect(await lab.text("in/a.txt/x")).toBe("of a directory that lost");
    await lab.put("in/gone.conflict-alpha-01234567", "back again");
    expect((await resolve({ copy: "in/gone.conflict-alpha-01234567", keep: "copy" })).status).toBe(200);
    expect(await lab.text("in/gone")).toBe("back again");
  });

  test("[CONFLICT-3] what was changed since it was looked at is left alone, with 409; what is no conflict is not found", async () => {
    await lab.put("in/a.txt", "winner");
    await lab.put(COPY, "loser");
    const { sequence } = await list();
    await lab.put("in/a.txt", "edited since");
    for (const keep of ["current", "copy"]) expect((await resolve({ copy: COPY, keep, sequence })).status).toBe(409);
    const seen = (await list()).sequence;
    await lab.put(COPY, "edited, too");
    for (const keep of ["current", "copy", "both"]) expect((await resolve({ copy: COPY, keep, sequence: seen })).status).toBe(409);
    expect([await lab.text("in/a.txt"), await lab.text(COPY)]).toEqual(["edited since", "edited, too"]);
    expect((await resolve({ copy: "in/a.txt", keep: "current" })).status).toBe(404);
    expect((await resolve({ copy: "in/no.conflict-beta-01234567", keep: "current" })).status).toBe(404);
    await lab.put("in/taken", "x");
    expect((await resolve({ copy: COPY, keep: "both", as: "in/taken" })).status).toBe(409);
    expect((await resolve({ copy: COPY, keep: "current" }, TOKENS.reader)).status).toBe(403);
    expect((await resolve({ copy: COPY, keep: "both", as: "out/a" }, TOKENS.writer)).status).toBe(403);
    expect(await isThere(COPY)).toBe(true);
    expect((await resolve({ copy: COPY, keep: "copy" }, TOKENS.writer)).status).toBe(200);
    expect(await lab.text("in/a.txt")).toBe("edited, too");
    // A name that was shortened does not say of what.
    const long = `in/${"n".repeat(225)}.conflict-beta-01234567.txt`;
    await lab.put(long, "x");
    expect((await list()).conflicts).toMatchObject([{ path: null }]);
    expect((await resolve({ copy: long, keep: "copy" })).status).toBe(400);
    expect((await resolve({ copy: long, keep: "both", as: "in/short" })).status).toBe(200);
  });

  test("[CONFLICT-4] a new one is seen in the journal, in events and as a number", async () => {
    const metric = async (): Promise<string | undefined> =>
      /^syncline_space_conflicts\{space="demo"\} (\d+)$/m.exec(await (await lab.ask("/metrics")).text())?.[1];
    expect(await metric()).toBe("0");
    await lab.put("in/a.txt", "winner");
    await post("move", { from: "in/a.txt", to: COPY });
    const stop = new AbortController();
    const stream = await lab.ask("/v1/spaces/demo/events?after=0", { signal: stop.signal });
    let told = "";
    for await (const piece of stream.body!.pipeThrough(new TextDecoderStream() as never) as unknown as AsyncIterable<string>) {
      told += piece;
      if (told.includes(COPY)) break;
    }
    stop.abort();
    expect(told).toContain('"conflictOf":"in/a.txt"');
    expect(told.match(/conflictOf/g)).toHaveLength(1);
    expect(await metric()).toBe("1");
    await resolve({ copy: COPY, keep: "current" });
    expect(await metric()).toBe("0");
  });
});
