import { describe, expect, test } from "bun:test";
import { FollowHub, TARGET, WHO, catchUp, journalOf, lost, never } from "#hub/followers/followers-fixture.ts";
import { TRACE } from "#hub/hub-fixture.ts";
import { COMPARE_EVERY_MS } from "#hub/followers/follower.ts";
import { ChunkRepair } from "#hub/followers/repair.ts";
import type { FollowSource } from "#hub/followers/source.ts";
import { SynclineError } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import type { ChunkId } from "#sync/chunk/chunk-id.ts";

async function codeOf(done: Promise<unknown>): Promise<string> {
  return done.then(
    () => "done",
    (error: unknown) => (error instanceof SynclineError ? error.code : String(error)),
  );
}

/** A source with some history: edits, a directory that moves, a removal, a restore point, a large file. */
async function openSource(): Promise<FollowHub> {
  const source = await FollowHub.open();
  const { spaces } = source.hub;
  await spaces.createSpace(WHO, "demo", { ignore: ["*.tmp"] });
  await source.hub.put("demo", "dir/a", "one");
  await source.hub.put("demo", "dir/a", "two");
  await source.hub.put("demo", "b", "bee", { "user.colour": "yellow" });
  await spaces.createRestorePoint(WHO, "demo", "early");
  await source.hub.put("demo", "large", "0123456789".repeat(60_000));
  const move = { type: "move", from: "dir", to: "other", expect: { kind: "any" } } as const;
  const remove = { type: "remove", path: "b", expect: { kind: "any" }, recursive: false } as const;
  const request = { changes: [move, remove], intake: undefined, atomic: true, cause: "edit", traceId: TRACE } as const;
  await spaces.commit(WHO, "demo", { ...request, message: "tidied", host: "web1" });
  return source;
}

describe("a space that follows another hub", () => {
  test("[FOLLOW-1] has the journal of its source, record by record, its settings, restore points and bytes", async () => {
    await using source = await openSource();
    await using copy = await FollowHub.open();
    const follower = await copy.copyOf(source);
    await catchUp(follower);
    expect(await journalOf(copy)).toEqual(await journalOf(source));
    expect(await copy.hub.files("demo")).toEqual(await source.hub.files("demo"));
    const [here, there] = [await copy.hub.spaces.space(WHO, "demo"), await source.hub.spaces.space(WHO, "demo")];
    expect({ ...here, id: 0, createdMs: 0, follows: 0 }).toEqual({ ...there, id: 0 as never, createdMs: 0, follows: 0 as never });
    const points = (await copy.hub.spaces.restorePoints(WHO, "demo")).map(({ name, sequence }) => [name, sequence]);
    expect(points).toEqual([["early", 4]]);
    for (let sequence = 0; sequence <= there.sequence; sequence++) {
      const request = { below: "", after: undefined, shallow: false, limit: 100, at: { sequence } };
      expect(await copy.hub.spaces.list(WHO, "demo", request)).toEqual(await source.hub.spaces.list(WHO, "demo", request));
    }
  });

  test("[FOLLOW-2] goes on from its durable sequence, and fetches only chunks that are not here", async () => {
    await using source = await openSource();
    await using copy = await FollowHub.open();
    const asked: number[] = [];
    let fetched = 0;
    const spied = (from: FollowSource): FollowSource => ({
      ...from,
      page: (after, waitMs, signal) => {
        asked.push(after);
        return from.page(after, waitMs, signal);
      },
      chunks: (wanted, onChunk, signal) => {
        fetched += wanted.reduce((sum, { chunks }) => sum + chunks.length, 0);
        return from.chunks(wanted, onChunk, signal);
      },
    });
    await catchUp(await copy.copyOf(source, spied));
    const { id, sequence } = await copy.hub.spaces.space(WHO, "demo");
    const before = fetched;
    // The same bytes elsewhere, and new ones.
    await source.hub.put("demo", "copy-of-bee", "bee");
    await source.hub.put("demo", "new", "never seen");
    const { Follower } = await import("#hub/followers/follower.ts");
    const again = new Follower({ ...copy.parts, space: id, source: spied(source.eager("demo")), log: copy.note }, "");
    asked.length = 0;
    await catchUp(again);
    expect(asked[0]).toBe(sequence);
    expect(fetched - before).toBe(1);
    expect((await copy.hub.files("demo"))["new"]).toBe("never seen");
  });

  test("[FOLLOW-49] who waits for news is told of what is committed while it is looked whether there is any", async () => {
    await using source = await FollowHub.open();
    const { spaces } = source.hub;
    await spaces.createSpace(WHO, "demo");
    const space = spaces.space.bind(spaces);
    let isCommitted = false;
    spaces.space = async (...asked) => {
      const found = await space(...asked);
      if (!isCommitted) {
        isCommitted = true;
        await source.hub.put("demo", "news", "x");
        // Whoever listens by now has been told.
        await Bun.sleep(0);
      }
      return found;
    };
    const late = Bun.sleep(3000).then(() => "late" as const);
    const page = await Promise.race([source.following.page(WHO, "demo", 0, 25_000, never), late]);
    expect(page).toMatchObject({ sequence: 1, records: [{ path: "news" }] });
  });

  test("[FOLLOW-3] has no row whose chunks are not durable: what breaks off in the middle leaves the journal as it was", async () => {
    await using source = await openSource();
    await using copy = await FollowHub.open();
    let left = 2;
    const cut = (from: FollowSource): FollowSource => ({
      ...from,
      chunks: (wanted, onChunk, signal) =>
        from.chunks(
          wanted,
          async (id, bytes) => {
            if (left-- === 0) throw lost();
            await onChunk(id, bytes);
          },
          signal,
        ),
    });
    const follower = await copy.copyOf(source, cut);
    expect(await codeOf(follower.round(never))).toBe("LINK_LOST");
    expect((await copy.hub.spaces.space(WHO, "demo")).sequence).toBe(0);
    await catchUp(follower);
    expect(await copy.hub.files("demo")).toEqual(await source.hub.files("demo"));
  });

  test("[FOLLOW-22] takes no lengths of chunks that are not theirs, which would spoil the same content in other spaces", async () => {
    await using source = await openSource();
    await using copy = await FollowHub.open();
    // Somebody else has the same file here.
    await copy.hub.spaces.createSpace(WHO, "own", {});
    await copy.hub.put("own", "theirs", "0123456789".repeat(60_000));
    const lying = (from: FollowSource): FollowSource => ({
      ...from,
      page: async (after, waitMs, signal) => {
        const page = await from.page(after, waitMs, signal);
        const manifests = new Map([...page.manifests].map(([id, manifest]) => {
          const [first, second, ...more] = manifest.chunks;
          const shifted = [{ ...first!, length: first!.length + 1 }, { ...second!, length: second!.length - 1 }, ...more];
          return [id, { ...manifest, chunks: shifted }];
        }));
        return { ...page, manifests };
      },
    });
    expect(await codeOf((await copy.copyOf(source, lying)).round(never))).toBe("PROTOCOL");
    expect((await copy.hub.spaces.space(WHO, "demo")).sequence).toBe(0);
    expect((await copy.hub.files("own"))["theirs"]).toBe("0123456789".repeat(60_000));
  });

  test("[FOLLOW-23] a source that answers the same history again and again is not listened to", async () => {
    await using source = await openSource();
    await using copy = await FollowHub.open();
    const stuck = (from: FollowSource): FollowSource => ({
      ...from,
      history: (path, _after, until, signal) => from.history(path, 0, until, signal),
    });
    await putMany(source, 0, 20);
    await catchUp(await copy.copyOf(source, stuck));
    const { id } = await copy.hub.spaces.space(WHO, "demo");
    await forge(copy, id, "n/7", "n/8");
    copy.digests.forget(id);
    const { Follower } = await import("#hub/followers/follower.ts");
    const again = new Follower({ ...copy.parts, space: id, source: stuck(source.eager("demo")), log: copy.note }, "");
    expect(await codeOf(catchUp(again))).toBe("PROTOCOL");
  });

  test("[FOLLOW-27] a source that does not wait for news is not asked without a pause", async () => {
    await using source = await openSource();
    await using copy = await FollowHub.open();
    await catchUp(await copy.copyOf(source));
    const stop = new AbortController();
    let asked = 0;
    const eager = source.eager("demo");
    const counted: FollowSource = {
      ...eager,
      page: (after, waitMs, signal) => {
        if (++asked >= 50) stop.abort();
        return eager.page(after, waitMs, signal);
      },
    };
    const real = copy.hub.host.clock;
    const clock = { nowMs: () => real.nowMs(), monotonicMs: () => 0, sleep: async () => stop.abort() };
    const { id } = await copy.hub.spaces.space(WHO, "demo");
    const { Follower } = await import("#hub/followers/follower.ts");
    await new Follower({ ...copy.parts, space: id, source: counted, clock, log: copy.note }, "").run(stop.signal);
    expect(asked).toBeLessThan(10);
  });

  test("[FOLLOW-4] takes no changes but those of its source, and says what to do", async () => {
    await using source = await openSource();
    await using copy = await FollowHub.open();
    const { spaces } = copy.hub;
    await catchUp(await copy.copyOf(source));
    const change = { type: "remove", path: "large", expect: { kind: "any" }, recursive: false } as const;
    const request = { changes: [change], intake: undefined, atomic: true, cause: "edit", traceId: TRACE } as const;
    const tries = [
      () => spaces.commit(WHO, "demo", request),
      () => Promise.resolve().then(() => spaces.intake(WHO, "demo")),
      () => spaces.restore(WHO, "demo", "", { sequence: 1 }, { cause: "restore", traceId: TRACE }),
      () => spaces.createRestorePoint(WHO, "demo", "mine"),
      () => spaces.deleteRestorePoint(WHO, "demo", "early"),
      () => spaces.updateSpace(WHO, "demo", { settings: { ignore: [] } }),
      () => spaces.deleteSpace(WHO, "demo"),
    ];
    for (const one of tries) expect(await codeOf(one())).toBe("DENIED");
    await spaces.commit(WHO, "demo", request).catch((error: SynclineError) => expect(error.hint).toContain("promote demo"));
    expect(await journalOf(copy)).toEqual(await journalOf(source));
  });

  test("[FOLLOW-5] forgets old content when its source has, and not before", async () => {
    await using source = await openSource();
    await using copy = await FollowHub.open();
    await source.hub.spaces.updateSpace(WHO, "demo", { settings: { retention: { versions: 0, ageMs: undefined } } });
    const follower = await copy.copyOf(source);
    await catchUp(follower);
    const { id } = await copy.hub.spaces.space(WHO, "demo");
    const there = (await source.hub.spaces.space(WHO, "demo")).id;
    expect(await copy.hub.meta.expire(id, Date.now(), 1000)).toBe(0);
    expect(await follower.forget(never)).toBe(0);
    expect(await source.hub.meta.expire(there, Date.now(), 1000)).toBe(1);
    expect(await follower.forget(never)).toBe(1);
    expect(await journalOf(copy)).toEqual(await journalOf(source));
  });

  test("[FOLLOW-6] content that retention takes while it is fetched is passed over; what the source has lost is remembered", async () => {
    await using source = await openSource();
    await using copy = await FollowHub.open();
    const record = (await source.hub.meta.journal((await source.hub.spaces.space(WHO, "demo")).id, 0, 10))[1]!;
    let times = 0;
    const forgetful = (from: FollowSource): FollowSource => ({
      ...from,
      chunks: async (wanted, onChunk, signal) => {
        // Between the page and its chunks the source forgets an old version.
        if (times++ === 0) await forgetOld(source);
        await from.chunks(wanted, onChunk, signal);
      },
    });
    // Until its store has it, small content lies in the database too, and is put again from there.
    await source.hub.spaces.close();
    source.hub.disk.damage((await source.hub.spaces.version(WHO, "demo", "other/a"))!.content!.id as never);
    const follower = await copy.copyOf(source, forgetful);
    await catchUp(follower);
    expect(times).toBeGreaterThan(1);
    expect(await journalOf(copy)).toEqual(await journalOf(source));
    expect((await copy.hub.meta.history((await copy.hub.spaces.space(WHO, "demo")).id, record.path, record.sequence + 1, 1))[0]!.content).toBeUndefined();
    expect(await copy.store.lostCount()).toBe(1);
  });

  test("[FOLLOW-7] what differs is located, told, kept aside and taken over from the source", async () => {
    await using source = await openSource();
    await using copy = await FollowHub.open();
    for (let at = 0; at < 1500; at += 500) await putMany(source, at, 500);
    const follower = await copy.copyOf(source);
    await catchUp(follower);
    const { id, sequence } = await copy.hub.spaces.space(WHO, "demo");
    // Somebody wrote into the database of the copy: another version, one too few, one too many.
    await forge(copy, id, "n/7", "n/8");
    copy.digests.forget(id);
    const found = await follower.compareNow(never);
    expect(found.differences.map(({ path }) => path).sort()).toEqual(["n/7", "n/8"]);
    expect(found.rounds).toBeLessThan(20);
    const { Follower } = await import("#hub/followers/follower.ts");
    const again = new Follower({ ...copy.parts, space: id, source: source.eager("demo"), log: copy.note }, "");
    await catchUp(again);
    expect(again.state.differed).toBe(2);
    expect(copy.log.some(({ message }) => message === "space differs from its source")).toBe(true);
    expect(await journalOf(copy)).toEqual(await journalOf(source));
    expect((await copy.hub.files("demo.diverged"))[`${sequence}/n/8`]).toBe("forged");
  });

  test("[FOLLOW-39] what must not be repaired changes nothing, is told, and is tried again as seldom as both are compared", async () => {
    await using source = await openSource();
    await using copy = await FollowHub.open();
    await putMany(source, 0, 10);
    await catchUp(await copy.copyOf(source));
    const { id } = await copy.hub.spaces.space(WHO, "demo");
    await forge(copy, id, "n/7", "n/8");
    copy.digests.forget(id);
    const sequence = (await copy.hub.meta.version(id, "n/8"))!.sequence;
    await copy.store.applyMarks(id, [{ number: 9, sequence, lock: { term: undefined, hold: true } }], 1);
    const before = await journalOf(copy);
    const { Follower } = await import("#hub/followers/follower.ts");
    let passedMs = 0;
    const clock: Clock = { ...copy.hub.host.clock, monotonicMs: () => performance.now() + passedMs, sleep: () => Bun.sleep(1) };
    const eager = source.eager("demo");
    let [histories, rounds] = [0, 0];
    const counted: FollowSource = {
      ...eager,
      page: (...asked) => (rounds++, eager.page(...asked)),
      history: (...asked) => (histories++, eager.history(...asked)),
    };
    const again = new Follower({ ...copy.parts, clock, space: id, source: counted, log: copy.note }, "");
    const end = new AbortController();
    const running = again.run(end.signal);
    const haltedAfter = async (count: number): Promise<void> => {
      while (rounds < count || again.state.phase !== "halted") await Bun.sleep(1);
    };
    await haltedAfter(5);
    expect(again.state.trouble).toMatchObject({ code: "HALT", message: expect.stringContaining('"n/8" that is locked here') });
    const asked = histories;
    await haltedAfter(10);
    expect(histories).toBe(asked);
    expect(await journalOf(copy)).toEqual(before);
    expect((await copy.hub.spaces.spaces(WHO)).map(({ name }) => name)).toEqual(["demo"]);
    // Somebody has ended it.
    await copy.store.applyMarks(id, [{ number: 10, sequence, lock: { term: undefined, hold: false } }], 1);
    passedMs += COMPARE_EVERY_MS;
    while (again.state.phase !== "following") await Bun.sleep(1);
    end.abort();
    await running;
    expect(await journalOf(copy)).toEqual(await journalOf(source));
  });
});

async function forgetOld({ hub }: FollowHub): Promise<void> {
  await hub.spaces.updateSpace(WHO, "demo", { settings: { retention: { versions: 0, ageMs: undefined } } });
  const { id } = await hub.spaces.space(WHO, "demo");
  expect(await hub.meta.expire(id, Date.now(), 1000)).toBeGreaterThan(0);
  const later = Date.now() + 1e9;
  const live = async function* () {
    for (const { id: content, manifest } of await hub.meta.liveContent(undefined, 1000)) {
      yield* manifest?.chunks.map((chunk) => chunk.id) ?? [content as string as ChunkId];
    }
  };
  await hub.chunks.prune({ live: live(), olderThanMs: later, fractionMax: 1 }, never);
}

async function putMany(source: FollowHub, from: number, count: number): Promise<void> {
  await using intake = source.hub.spaces.intake(WHO, "demo");
  const changes = [];
  for (let at = from; at < from + count; at++) {
    const { content, sum } = await intake.store(Buffer.from(`text ${at}`));
    const entry = { kind: "file", size: content.size, mode: 0o644, mtimeNs: 1n, sum } as const;
    changes.push({ type: "put", path: `n/${at}`, expect: { kind: "any" }, entry, content, makeParents: true } as const);
  }
  await source.hub.spaces.commit(WHO, "demo", { changes, intake, atomic: true, cause: "upload", traceId: TRACE });
}

/** Removes the row of one path, and gives another one content that the source never had. */
async function forge(copy: FollowHub, id: number, gone: string, other: string): Promise<void> {
  const { rowOf, valuesOf, NEW_VERSION_COLUMNS } = await import("#hub/meta/rows.ts");
  const { hub } = copy;
  const { storeBytes } = await import("#hub/content.ts");
  const { seedsOf } = await import("#hub/hub-spaces.ts");
  const space = await hub.spaces.space(WHO, "demo");
  using pin = hub.chunks.pin();
  const stored = await storeBytes(pin, Buffer.from("forged"), seedsOf(space));
  await pin.flush();
  const was = (await hub.meta.version(space.id, other))!;
  const [record] = await hub.meta.history(space.id, other, undefined, 1);
  const entry = { kind: "file", size: 6, mode: 0o644, mtimeNs: 1n, sum: stored.sum } as const;
  const row = rowOf(space.id, hub.meta.hubId, { ...was, entry, content: stored.content }, {
    path: other, entry, content: stored.content, attributes: {}, action: "create", from: undefined,
  }, { previous: 0, commit: record!.commit });
  await hub.database.transaction(async (sql) => {
    await sql.run("DELETE FROM versions WHERE space_id = ? AND path = ?", [id, Buffer.from(gone)]);
    await sql.run("DELETE FROM versions WHERE space_id = ? AND path = ?", [id, Buffer.from(other)]);
    const marks = valuesOf(row).map(() => "?").join(", ");
    await sql.run(`INSERT INTO versions (${NEW_VERSION_COLUMNS}) VALUES (${marks})`, valuesOf(row));
  });
}

describe("a source that is not to be trusted", () => {
  /** The copy's hub has a space of its own that nobody of the source may read; returns the id of its only chunk. */
  async function withSecret(copy: FollowHub): Promise<ChunkId> {
    await copy.hub.spaces.createSpace(WHO, "private");
    await copy.hub.put("private", "secret", "the secret bytes");
    const version = await copy.hub.spaces.version(WHO, "private", "secret");
    return version!.content!.id as string as ChunkId;
  }

  test("[FOLLOW-29] content that other spaces have is not had for its id: the source must send it", async () => {
    await using source = await openSource();
    await using copy = await FollowHub.open();
    const secret = await withSecret(copy);
    const asked: string[] = [];
    // It names content of which it has only the id, and its size.
    const liar = (from: FollowSource): FollowSource => ({
      ...from,
      page: async (after, waitMs, signal) => {
        const page = await from.page(after, waitMs, signal);
        const named = { id: secret as string as NonNullable<typeof content>["id"], size: 16 };
        const content = page.records.find((record) => record.path === "dir/a")?.content;
        const records = page.records.map((record) =>
          record.path !== "dir/a" || record.entry?.kind !== "file"
            ? record
            : { ...record, content: named, entry: { ...record.entry, size: 16 } },
        );
        return { ...page, records };
      },
      chunks: (wanted, onChunk, signal) => {
        asked.push(...wanted.flatMap(({ chunks }) => chunks));
        return from.chunks(wanted, onChunk, signal);
      },
    });
    const follower = await copy.copyOf(source, liar);
    expect(await codeOf(follower.round(never))).toBe("CHUNK_MISSING");
    // It was asked as for any other: a source is not told what is here.
    expect(asked).toContain(secret);
    const { sequence } = await copy.hub.spaces.space(WHO, "demo");
    expect([sequence, await copy.hub.files("demo")]).toEqual([0, {}]);
    expect(await copy.store.lostCount()).toBe(0);
  });

  test("[FOLLOW-29] who has it may follow: what is here by another space comes once more, and only then", async () => {
    await using source = await openSource();
    await using copy = await FollowHub.open();
    await withSecret(copy);
    await source.hub.put("demo", "same", "the secret bytes");
    const follower = await copy.copyOf(source);
    await catchUp(follower);
    expect((await copy.hub.files("demo"))["same"]).toBe("the secret bytes");
  });

  test("[FOLLOW-30] a source that asks for a chunk gets only one of content that the copy has from it", async () => {
    await using source = await openSource();
    await using copy = await FollowHub.open();
    const secret = await withSecret(copy);
    const given: ChunkId[] = [];
    let wanted: readonly { id: ChunkId; content: never }[] = [];
    const asking = (from: FollowSource): FollowSource => ({
      ...from,
      page: async (after, waitMs, signal) => ({ ...(await from.page(after, waitMs, signal)), wanted }),
      give: async (id) => void given.push(id),
    });
    const follower = await copy.copyOf(source, asking);
    await catchUp(follower);
    const large = (await copy.hub.spaces.version(WHO, "demo", "large"))!.content!.id;
    const [chunk] = (await copy.hub.meta.manifest(large))!.chunks;
    wanted = [
      { id: secret, content: secret as never },
      { id: secret, content: large as never },
      { id: chunk!.id, content: large as never },
    ];
    await follower.round(never);
    expect(given).toEqual([chunk!.id]);
  });
});

describe("hubs that change places", () => {
  test("[FOLLOW-8] a promoted copy takes changes in a lineage of its own, and says what of the source it lacks", async () => {
    await using source = await openSource();
    await using copy = await FollowHub.open();
    const followers = await copy.followers(source);
    await followers.follow(WHO, "demo", TARGET, never);
    await until(async () => (await followers.list(WHO))[0]!.isWell);
    const before = await copy.hub.spaces.space(WHO, "demo");
    const promoted = await followers.promote(WHO, "demo");
    expect(promoted).toMatchObject({ missing: 0 });
    expect(promoted.space.lineage).not.toBe(before.lineage);
    const sequence = await copy.hub.put("demo", "after", "promotion");
    expect(sequence).toBe(before.sequence + 1);
    const version = await copy.hub.spaces.version(WHO, "demo", "after");
    expect(version!.vector).toEqual({ [copy.hub.meta.hubId]: sequence });
    await followers.close();
  });

  test("[FOLLOW-44] a space that is told twice at once to follow has one follower, which ends when it is told to", async () => {
    await using source = await openSource();
    await using copy = await FollowHub.open();
    const followers = await copy.followers(source);
    await followers.follow(WHO, "demo", TARGET, never);
    await Promise.all([1, 2, 3].map(() => followers.follow(WHO, "demo", TARGET, never)));
    await until(async () => (await followers.list(WHO))[0]!.isWell);
    const promoted = followers.promote(WHO, "demo");
    // Somebody who comes too late for this copy.
    const late = codeOf(followers.unfollow(WHO, "demo"));
    await promoted;
    expect(await late).toBe("NOT_FOUND");
    await source.hub.put("demo", "late", "nobody follows any more");
    await followers.close();
    await Bun.sleep(20);
    expect(copy.log.filter(({ message }) => message === "space cannot be followed")).toEqual([]);
  });

  test("[FOLLOW-9] the old source follows on from the fork; what it alone has is kept whole beside it", async () => {
    await using source = await openSource();
    await using copy = await FollowHub.open();
    const there = await copy.followers(source);
    await there.follow(WHO, "demo", TARGET, never);
    await until(async () => (await there.list(WHO))[0]!.isWell);
    const { sequence } = await copy.hub.spaces.space(WHO, "demo");
    await there.unfollow(WHO, "demo");
    await source.hub.put("demo", "unfollowed", "nobody has this");
    await there.promote(WHO, "demo");
    await copy.hub.put("demo", "after", "promotion");
    const back = await source.followers(copy);
    const { aside } = await back.follow(WHO, "demo", TARGET, never);
    expect(aside).toEqual({ space: `demo.diverged-${sequence + 1}`, sharedSequence: sequence, changes: 1 });
    await until(async () => (await back.list(WHO))[0]!.isWell);
    expect(await journalOf(source)).toEqual(await journalOf(copy));
    expect((await source.hub.files(aside!.space))["unfollowed"]).toBe("nobody has this");
    // The space beside is one of its own again.
    await source.hub.put(aside!.space, "more", "works");
    await Promise.all([there.close(), back.close()]);
  });

  test("[FOLLOW-9] an old source that has nothing of its own goes on where it is", async () => {
    await using source = await openSource();
    await using copy = await FollowHub.open();
    const there = await copy.followers(source);
    await there.follow(WHO, "demo", TARGET, never);
    await until(async () => (await there.list(WHO))[0]!.isWell);
    await there.promote(WHO, "demo");
    await copy.hub.put("demo", "after", "promotion");
    const { id } = await source.hub.spaces.space(WHO, "demo");
    const back = await source.followers(copy);
    expect((await back.follow(WHO, "demo", TARGET, never)).aside).toBeUndefined();
    await until(async () => (await back.list(WHO))[0]!.isWell);
    expect(await journalOf(source)).toEqual(await journalOf(copy));
    expect((await source.hub.spaces.space(WHO, "demo")).id).toBe(id);
    await Promise.all([there.close(), back.close()]);
  });

  test("[FOLLOW-9] a promoted copy can follow its old source again: what it did meanwhile is kept whole beside it", async () => {
    await using source = await openSource();
    await using copy = await FollowHub.open();
    const there = await copy.followers(source);
    await there.follow(WHO, "demo", TARGET, never);
    await until(async () => (await there.list(WHO))[0]!.isWell);
    const { sequence } = (await there.promote(WHO, "demo")).space;
    await copy.hub.put("demo", "own", "of the copy");
    await source.hub.put("demo", "goes on", "at the source");
    const { aside } = await there.follow(WHO, "demo", TARGET, never);
    expect(aside).toMatchObject({ sharedSequence: sequence, changes: 1 });
    await until(async () => (await there.list(WHO))[0]!.isWell);
    expect(await journalOf(copy)).toEqual(await journalOf(source));
    expect((await copy.hub.files(aside!.space))["own"]).toBe("of the copy");
    await there.close();
  });

  test("[FOLLOW-10] a source that was put back to an earlier day takes nothing away from its copy: a person decides", async () => {
    await using source = await openSource();
    await using copy = await FollowHub.open();
    const follower = await copy.copyOf(source);
    await catchUp(follower);
    const { id, sequence } = await source.hub.spaces.space(WHO, "demo");
    // As after a restore from a backup: three changes fewer, and another lineage.
    await source.hub.database.run("UPDATE spaces SET sequence = sequence - 3 WHERE id = ?", [id]);
    await source.hub.meta.renewLineages(source.hub.host.random);
    expect(await codeOf(follower.round(never))).toBe("HALT");
    expect((await copy.hub.spaces.space(WHO, "demo")).sequence).toBe(sequence);
  });

  test("[FOLLOW-10] a space that has nothing to do with the source is not touched", async () => {
    await using source = await openSource();
    await using copy = await FollowHub.open();
    await copy.hub.spaces.createSpace(WHO, "demo");
    await copy.hub.put("demo", "own", "file");
    const followers = await copy.followers(source);
    expect(await codeOf(followers.follow(WHO, "demo", TARGET, never))).toBe("EXISTS");
    await copy.hub.put("demo", "own", "still mine");
    await followers.close();
  });
});

async function until(isTrue: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    if (await isTrue()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error("it never came true");
}

describe("a chunk that was lost", () => {
  const repairOf = (side: FollowHub, sourceOf: (id: number) => FollowSource | undefined): ChunkRepair =>
    new ChunkRepair({ ...side.parts, sourceOf, agents: undefined, onLost: () => undefined, log: side.note });

  async function damage({ hub }: FollowHub, path: string): Promise<ChunkId[]> {
    const version = (await hub.spaces.version(WHO, "demo", path))!;
    const manifest = await hub.meta.manifest(version.content!.id);
    const id = manifest?.chunks[1]!.id ?? (version.content!.id as string as ChunkId);
    hub.disk.damage(id);
    return (await hub.chunks.scrub(undefined, Number.MAX_SAFE_INTEGER, never)).damaged as ChunkId[];
  }

  test("[REPAIR-3] by a copy comes from its source, by a source from its copy; nobody else's bytes are taken", async () => {
    await using source = await openSource();
    await using copy = await FollowHub.open();
    const follower = await copy.copyOf(source);
    await catchUp(follower);
    const repair = repairOf(copy, () => source.source("demo"));
    await repair.lost(await damage(copy, "large"));
    expect(await copy.store.lostCount()).toBe(1);
    expect(await repair.round(never)).toEqual({ healed: 1, left: 0 });
    expect(await copy.hub.files("demo")).toEqual(await source.hub.files("demo"));

    const own = repairOf(source, () => undefined);
    const damaged = await damage(source, "large");
    await own.lost(damaged);
    expect(await own.round(never)).toEqual({ healed: 0, left: 1 });
    await codeOf(source.following.give(WHO, "demo", damaged[0]!, Buffer.from("wrong"))).then((code) => expect(code).toBe("CHUNK_DAMAGED"));
    await source.hub.spaces.createSpace(WHO, "other");
    expect(await source.following.give(WHO, "other", damaged[0]!, Buffer.from("wrong"))).toBe(false);
    expect(await source.store.lostCount()).toBe(1);
    await follower.round(never);
    expect(source.healed).toEqual(damaged);
    expect(await source.store.lostCount()).toBe(0);
    expect(await source.hub.files("demo")).toEqual(await copy.hub.files("demo"));
  });

  test("[REPAIR-7] what is lost while others are being repaired is looked for at once", async () => {
    await using source = await openSource();
    await using copy = await FollowHub.open();
    await catchUp(await copy.copyOf(source));
    const end = new AbortController();
    const asked: string[] = [];
    let later: readonly ChunkId[] = [];
    const from = source.source("demo");
    const repair: ChunkRepair = repairOf(copy, () => ({
      ...from,
      chunks: async (wanted, onChunk, signal) => {
        asked.push(...wanted.flatMap(({ chunks }) => chunks));
        if (asked.length === 1) await repair.lost(later);
        await from.chunks(wanted, onChunk, signal);
      },
    }));
    const large = await damage(copy, "large");
    later = await damage(copy, "other/a");
    await copy.store.lose(await copy.store.contentsWith(large), 1);
    // Behind the one that is asked for first, as their ids are ordered, or before it.
    const running = repair.run(end.signal);
    await until(async () => (await copy.store.lostCount()) === 0);
    expect(new Set(asked)).toEqual(new Set([...large, ...later]));
    end.abort();
    await running;
  });

  test("[REPAIR-8] what a reader finds damaged is repaired, and what a scrub has found, however often that was refused", async () => {
    await using source = await openSource();
    await using copy = await FollowHub.open();
    await catchUp(await copy.copyOf(source));
    const { hub } = copy;
    const repair = repairOf(copy, () => source.source("demo"));
    const { content } = (await hub.spaces.version(WHO, "demo", "other/a"))!;
    hub.disk.damage(content!.id as string as ChunkId);
    expect(await codeOf(hub.files("demo"))).toBe("CHUNK_DAMAGED");
    expect(await repair.round(never)).toEqual({ healed: 1, left: 0 });
    const damaged = await damage(copy, "large");
    await hub.database.run("CREATE TRIGGER refusing BEFORE INSERT ON lost_chunks BEGIN SELECT RAISE(ABORT, 'refused'); END");
    for (let time = 0; time < 2; time++) await expect(repair.lost(damaged)).rejects.toThrow();
    await hub.database.run("DROP TRIGGER refusing");
    // Also in another life of the hub, that knows what is damaged from the packs alone.
    for (const each of [repairOf(copy, () => undefined), repair]) {
      expect(await each.round(never)).toEqual(each === repair ? { healed: 1, left: 0 } : { healed: 0, left: 1 });
    }
    expect(await hub.files("demo")).toEqual(await source.hub.files("demo"));
    expect(await repair.round(never)).toEqual({ healed: 0, left: 0 });
  });

  test("[REPAIR-4] is asked for over restarts until it is there; what nothing refers to any more is not", async () => {
    await using source = await openSource();
    const { hub } = source;
    const damaged = await damage(source, "large");
    const nobody = "f".repeat(64) as ChunkId;
    await repairOf(source, () => undefined).lost([...damaged, nobody]);
    const again = repairOf(source, () => undefined);
    expect(await again.round(never)).toEqual({ healed: 0, left: 1 });
    // The same bytes come by themselves.
    await hub.put("demo", "again", "0123456789".repeat(60_000));
    expect(await again.round(never)).toEqual({ healed: 1, left: 0 });
  });
});
