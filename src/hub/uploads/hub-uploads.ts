/** Uploads over the hub's own stores: who may is asked at every step, what has come is decided by rows. */
import type { Access } from "#access/access.ts";
import { NO_ATTRIBUTES, attributesFault } from "#hub/attributes.ts";
import { BelievedTime } from "#hub/believed-time.ts";
import type { StoreIntake } from "#hub/content.ts";
import { encryptedBytes, isEncrypted, storedBytes } from "#hub/encrypted-content.ts";
import { type HubSpaces, seedsOf } from "#hub/hub-spaces.ts";
import type { MetaStore } from "#hub/meta/meta-store.ts";
import { Places } from "#hub/places.ts";
import type { ContentReader, Intake } from "#hub/space-service.ts";
import { unknownSpace } from "#hub/space-errors.ts";
import type { ChangeResult, Space, SpaceChange, SpaceId, Version } from "#hub/space.ts";
import { type Run, limitsOf, sumOfRuns } from "#hub/uploads/stretches.ts";
import { NO_SUMS } from "#hub/sums/sums.ts";
import { Append } from "#hub/uploads/append.ts";
import { PartPrints } from "#hub/uploads/part-prints.ts";
import { NumberedPart } from "#hub/uploads/numbered-part.ts";
import type { PartRow, PrintRow, UploadRow, UploadRows } from "#hub/uploads/upload-rows.ts";
import {
  type AppendOptions, type AppendSink, type Challenge, type Completed, type Completion, type NewUpload,
  NOTE_CHARS_MAX, type Part, PART_NUMBER_MAX, type PartOptions, type PartSink, type Print,
  PRINTS_MAX, type Proof, STORED_PART_BYTES_MAX, STORED_UPLOAD_BYTES_MAX,
  type Upload, UPLOAD_BYTES_MAX, UPLOAD_EXPIRY_MS, UPLOAD_EXPIRY_MS_MAX,
  UPLOAD_KNOWN_MS, UPLOAD_PAGE_MAX, type Uploader, type UploadId, type UploadPage, type Uploads,
  UPLOADS_WRITING_MAX, USER_WRITING_MAX,
} from "#hub/uploads/upload.ts";
import { lacking, lostParts, lostStream, otherOffset, overSize, unknownUpload, wrongUse } from "#hub/uploads/upload-errors.ts";
import { FILE_MODE, type Sum } from "#model/entry.ts";
import { type RelPath, encodeName, pathFault } from "#model/path.ts";
import type { Clock, Random } from "#platform/host.ts";
import type { ChunkId } from "#sync/chunk/chunk-id.ts";
import { CHUNK_LIMITS, CHUNK_LIMITS_LARGE, type ChunkLimits, LARGE_FILE_BYTES, chunkLimitsFor } from "#sync/chunk/fastcdc.ts";
import type { ManifestChunk } from "#sync/chunk/manifest.ts";

const ID_BYTES = 16;
/** Uploads that one step of a sweep drops. */
const SWEEP_ROWS = 100;

export type HubUploadsOptions = {
  readonly rows: UploadRows;
  readonly spaces: HubSpaces;
  readonly meta: MetaStore;
  readonly access: Access;
  readonly clock: Clock;
  readonly random: Random;
};

/** An upload that the caller may go on with, and the space that it is for. */
type Known = { readonly row: UploadRow; readonly space: Space };

/** What makes a file: runs in order, with all their chunks. */
type Source = { readonly runs: readonly Run[]; readonly chunks: readonly ManifestChunk[]; readonly parts: readonly PartRow[] };

/** An append that is open or being opened. */
type Appending = { readonly stop: () => Promise<void> };

export class HubUploads implements Uploads {
  readonly #options: HubUploadsOptions;
  /** By which they end; that they are gone on with is noted by the clock. */
  readonly #time: BelievedTime;
  readonly #places = new Places(UPLOADS_WRITING_MAX);
  /** By user. */
  readonly #placesOf = new Map<string, Places>();
  /** The last that writes rows of an upload: two at a time would only collide in the database. */
  readonly #saving = new Map<UploadId, Promise<unknown>>();
  readonly #appending = new Map<UploadId, Appending>();
  readonly #completing = new Map<UploadId, Promise<Completed>>();
  /** Those that are being dropped. */
  readonly #dropping = new Map<UploadId, Promise<unknown>>();

  readonly #prints: PartPrints;
  readonly #tidying = new Set<Promise<void>>();

  constructor(options: HubUploadsOptions) {
    this.#options = options;
    this.#time = new BelievedTime(options.clock);
    this.#prints = new PartPrints(options);
  }

  // ---------------------------------------------------------------- beginning, looking, ending

  create(by: Uploader, wanted: NewUpload): Promise<Upload> {
    return this.#create(by, wanted, 0);
  }

  /** @param counted of its bytes, those that count against the quota already */
  async #create(by: Uploader, wanted: NewUpload, counted: number): Promise<Upload> {
    const { spaces, rows, clock, random } = this.#options;
    const { path, kind, size, attributes, mode, mtimeNs, note = "", expect = { kind: "any" } } = wanted;
    const { expiryMs = UPLOAD_EXPIRY_MS } = wanted;
    const fault = pathFault(path) ?? attributesFault(attributes ?? NO_ATTRIBUTES);
    if (fault !== undefined) throw wrongUse(fault);
    if (size !== undefined && (!Number.isSafeInteger(size) || size < 0)) throw wrongUse("a size is a whole number");
    if (size !== undefined && size > UPLOAD_BYTES_MAX) throw overSize(UPLOAD_BYTES_MAX);
    if (note.length > NOTE_CHARS_MAX) throw wrongUse(`a note has at most ${NOTE_CHARS_MAX} characters`);
    if (!(expiryMs > 0 && expiryMs <= UPLOAD_EXPIRY_MS_MAX)) throw wrongUse("an upload cannot be kept for so long");
    this.#requireWrite(by, wanted.space, path);
    // Refuses where nothing can be written at all.
    await spaces.intake(by.who, wanted.space)[Symbol.asyncDispose]();
    const space = await spaces.space(by.who, wanted.space);
    const nowMs = clock.nowMs();
    const row = {
      id: random.bytes(ID_BYTES).toHex(), spaceId: space.id, owner: by.who.id, door: by.door, path, kind, size,
      plan: { attributes, mode, mtimeNs, expect, expiryMs }, note, createdMs: nowMs, expiresMs: nowMs + expiryMs,
    };
    const room = await this.#room(space, path);
    await rows.create(row, room === undefined ? undefined : room + counted);
    return shown({ ...row, received: 0, done: undefined, job: undefined }, space);
  }

  async get(by: Uploader, id: UploadId): Promise<Upload> {
    const { row, space } = await this.#known(by, id);
    return shown(row, space);
  }

  async list(by: Uploader, name: string, { prefix = "", after, limit }: UploadPage): Promise<Upload[]> {
    const { spaces, rows, access } = this.#options;
    const space = await spaces.space(by.who, name);
    const from = encodeName(prefix);
    const mayWrite = (path: RelPath): boolean => access.decide(by.who, "write", { type: "space", space: name, path }).allowed;
    const isWithin = (path: RelPath): boolean => Buffer.from(encodeName(path)).subarray(0, from.length).equals(from);
    const count = Math.max(1, Math.min(limit, UPLOAD_PAGE_MAX));
    const found: Upload[] = [];
    for (let at = after === undefined ? { path: from, id: "" } : { path: encodeName(after.path), id: after.id }; ; ) {
      const page = await rows.list({ owner: by.who.id, spaceId: space.id, door: by.door }, from, at, count);
      const within = page.filter(({ path }) => isWithin(path));
      for (const row of within) if (found.length < count && mayWrite(row.path)) found.push(shown(row, space));
      if (within.length < count || found.length === count) return found;
      at = { path: encodeName(page.at(-1)!.path), id: page.at(-1)!.id };
    }
  }

  async setSize(by: Uploader, id: UploadId, size: number): Promise<Upload> {
    const { row, space } = await this.#known(by, id);
    if (!Number.isSafeInteger(size) || size < 0) throw wrongUse("a size is a whole number");
    return shown(await this.#options.rows.setSize(id, size, await this.#room(space, row.path)), space);
  }

  async setNote(by: Uploader, id: UploadId, note: string): Promise<Upload> {
    const { space } = await this.#known(by, id);
    if (note.length > NOTE_CHARS_MAX) throw wrongUse(`a note has at most ${NOTE_CHARS_MAX} characters`);
    return shown(await this.#options.rows.setNote(id, note), space);
  }

  async setJob(by: Uploader, id: UploadId, job: number): Promise<Upload> {
    const { row, space } = await this.#known(by, id);
    await this.#options.rows.setJob(id, job);
    return shown({ ...row, job }, space);
  }

  async abort(by: Uploader, id: UploadId): Promise<void> {
    do {
      await this.#open(by, id);
      await this.#completing.get(id)?.catch(() => undefined);
      await this.#open(by, id);
      await this.#appending.get(id)?.stop();
    } while ((await this.#drop([id])) === 0);
  }

  /**
   * Drops those that are not being completed; who wants to complete one of them waits, and finds it gone. Otherwise its
   * parts could go between two looks at them, and the file would be what was left: a part of it, or nothing.
   */
  async #drop(ids: readonly UploadId[], overdueMs?: number): Promise<number> {
    const free = ids.filter((id) => !this.#completing.has(id));
    if (free.length === 0) return 0;
    const dropping = this.#options.rows.drop(free, overdueMs);
    const ended = dropping.catch(() => undefined);
    for (const id of free) this.#dropping.set(id, ended);
    try {
      return await dropping;
    } finally {
      for (const id of free) if (this.#dropping.get(id) === ended) this.#dropping.delete(id);
    }
  }

  /** Drops what has expired, and what is for spaces that are no more; returns how many. */
  async sweep(signal: AbortSignal): Promise<number> {
    const { rows } = this.#options;
    let dropped = 0;
    for (;;) {
      signal.throwIfAborted();
      const nowMs = this.#time.nowMs();
      // Of one that somebody goes on with in this moment all stays.
      const gone = await this.#drop(await rows.overdue(nowMs, SWEEP_ROWS), nowMs);
      dropped += gone;
      if (gone === 0) break;
    }
    // Or a print of what is gone would come after it.
    await this.#tidied();
    while ((await rows.dropPrints(SWEEP_ROWS)) > 0) signal.throwIfAborted();
    return dropped;
  }

  /** Drops those of a door that were begun up to a time, where a path is meant; returns how many. What is being completed stays. */
  async abortBegunBefore(
    spaceId: SpaceId,
    door: string,
    beforeMs: number,
    isMeant: (path: RelPath) => boolean,
    signal: AbortSignal,
  ): Promise<number> {
    const { rows } = this.#options;
    let dropped = 0;
    for (let after = ""; ; ) {
      signal.throwIfAborted();
      const page = await rows.begunBefore({ spaceId, door }, beforeMs, after, SWEEP_ROWS);
      dropped += await this.#drop(page.filter(({ path }) => isMeant(path)).map(({ id }) => id));
      if (page.length < SWEEP_ROWS) return dropped;
      after = page.at(-1)!.id;
    }
  }

  /** Chunks that unfinished uploads need; for prune. */
  async *liveChunks(): AsyncGenerator<ChunkId> {
    for await (const { id } of this.#options.rows.liveChunks()) yield id;
  }

  /** Bytes that the space has room for when the file at the path is replaced; undefined: it has no limit. */
  async #room({ id, settings, usage }: Space, path: RelPath): Promise<number | undefined> {
    if (settings.quotaBytes === undefined) return undefined;
    const there = await this.#options.meta.version(id, path);
    return settings.quotaBytes - usage.bytes + storedBytes(there?.entry, there?.attributes ?? NO_ATTRIBUTES);
  }

  #requireWrite({ who }: Uploader, space: string, path: RelPath): void {
    this.#options.access.require(who, "write", { type: "space", space, path });
  }

  /** @throws {SynclineError} NOT_FOUND, SPACE_UNKNOWN, DENIED */
  async #known(by: Uploader, id: UploadId): Promise<Known> {
    const { rows, meta } = this.#options;
    const row = await rows.get(id);
    if (row === undefined || row.owner !== by.who.id || row.door !== by.door) throw unknownUpload(id);
    if (row.expiresMs < this.#time.nowMs()) throw unknownUpload(id);
    const space = await meta.space(row.spaceId);
    if (space === undefined || space.deletedMs !== undefined) throw unknownSpace(space?.name ?? "");
    this.#requireWrite(by, space.name, row.path);
    return { row, space };
  }

  async #open(by: Uploader, id: UploadId): Promise<Known> {
    const known = await this.#known(by, id);
    if (known.row.done !== undefined) throw unknownUpload(id);
    return known;
  }

  // ---------------------------------------------------------------- bytes

  async parts(by: Uploader, id: UploadId, after: number, limit: number): Promise<Part[]> {
    const { row } = await this.#open(by, id);
    if (row.kind !== "parts") throw wrongUse("this upload has no parts");
    const page = await this.#options.rows.page(id, after, Math.max(1, Math.min(limit, PART_NUMBER_MAX)));
    return page.map(({ number, size, sums, timeMs }) => ({ number, size, sums, timeMs }));
  }

  async part(by: Uploader, id: UploadId, number: number, options: PartOptions = {}): Promise<PartSink> {
    const { row, space } = await this.#open(by, id);
    if (row.kind !== "parts") throw wrongUse("this upload has no parts");
    const isNumber = Number.isInteger(number) && number >= 1 && number <= PART_NUMBER_MAX;
    if (!isNumber) throw wrongUse(`parts have numbers from 1 to ${PART_NUMBER_MAX}`);
    const sizeMax = Math.min(STORED_PART_BYTES_MAX, row.size ?? STORED_UPLOAD_BYTES_MAX);
    if ((options.size ?? 0) > sizeMax) throw overSize(sizeMax);
    const writing = await this.#writing(by, space);
    return new NumberedPart({
      ...writing,
      sink: writing.intake.stretchSink({ limits: limitsFor(row), size: options.size, sums: options.sums }),
      number,
      sizeMax,
      save: (part) => this.#save(row, space, [part]),
      nowMs: () => this.#options.clock.nowMs(),
    });
  }

  /** A place among those who write, and what the bytes come through; both are free again when it has ended. */
  async #writing(by: Uploader, space: Space): Promise<{ intake: StoreIntake; onEnd: () => Promise<void> }> {
    const place = await this.#place(by.who.id);
    try {
      const intake = this.#intake(by, space);
      const onEnd = async (): Promise<void> => {
        place[Symbol.dispose]();
        await intake[Symbol.asyncDispose]();
      };
      return { intake, onEnd };
    } catch (error) {
      place[Symbol.dispose]();
      throw error;
    }
  }

  /** What comes through it is for this very space. */
  #intake({ who }: Uploader, { name, id }: Space): StoreIntake {
    const { spaces } = this.#options;
    spaces.requireIs(name, id);
    return spaces.intake(who, name);
  }

  async #place(user: string): Promise<Disposable> {
    const own = this.#placesOf.get(user) ?? new Places(USER_WRITING_MAX);
    this.#placesOf.set(user, own);
    const places = [await own.take(), await this.#places.take()];
    return {
      [Symbol.dispose]: (): void => {
        for (const one of places) one[Symbol.dispose]();
        if (own.areAllFree && this.#placesOf.get(user) === own) this.#placesOf.delete(user);
      },
    };
  }

  async #save({ id, path, spaceId }: UploadRow, space: Space, parts: readonly PartRow[]): Promise<void> {
    const { rows, meta, clock } = this.#options;
    const before = this.#saving.get(id);
    const saved = (async () => {
      await before;
      const now = (await meta.space(spaceId)) ?? space;
      await rows.saveParts(id, parts, await this.#room(now, path), clock.nowMs());
    })();
    const ended = saved.catch(() => undefined).then(() => {
      if (this.#saving.get(id) === ended) this.#saving.delete(id);
    });
    this.#saving.set(id, ended);
    await saved;
  }

  async append(by: Uploader, id: UploadId, offset: number, options: AppendOptions = {}): Promise<AppendSink> {
    await this.#open(by, id);
    for (let before = this.#appending.get(id); before !== undefined; before = this.#appending.get(id)) await before.stop();
    const opening = this.#openAppend(by, id, offset, options);
    const stop = async (): Promise<void> => {
      // One that could not be opened has let go by itself.
      const append = await opening.catch(() => undefined);
      await append?.stop();
    };
    this.#appending.set(id, { stop });
    return opening;
  }

  async #openAppend(by: Uploader, id: UploadId, offset: number, options: AppendOptions): Promise<Append> {
    const ended = (): void => void this.#appending.delete(id);
    let writing: { intake: StoreIntake; onEnd: () => Promise<void> } | undefined;
    try {
      // Whoever was stopped may have added something.
      const { row, space } = await this.#open(by, id);
      if (row.kind !== "stream") throw wrongUse("this upload takes parts");
      if (row.received !== offset) throw otherOffset(offset, row.received);
      writing = await this.#writing(by, space);
      const { intake, onEnd } = writing;
      const parts = {
        intake,
        limits: limitsFor(row),
        largeFrom: row.size === undefined ? LARGE_FILE_BYTES : undefined,
        stretches: await Array.fromAsync(this.#options.rows.parts(id)),
        sizeMax: row.size ?? UPLOAD_BYTES_MAX,
        save: (stretch: PartRow) => this.#save(row, space, [stretch]),
        clock: this.#options.clock,
        onEnd: async () => {
          ended();
          await onEnd();
        },
      };
      return await Append.open(parts, options);
    } catch (error) {
      ended();
      await writing?.onEnd();
      throw error;
    }
  }

  async offer(by: Uploader, id: UploadId, prints: readonly Print[]): Promise<Challenge> {
    const { row, space } = await this.#open(by, id);
    if (row.kind !== "parts") throw wrongUse("this upload has no parts");
    if (prints.length > PRINTS_MAX) throw wrongUse(`an offer has at most ${PRINTS_MAX} parts`);
    // Of an upload that was completed before, which its uploader has been told of.
    await this.#tidied();
    return this.#prints.offer(by.who, row, space, prints);
  }

  async prove(by: Uploader, id: UploadId, nonce: string, proofs: readonly Proof[]): Promise<number[]> {
    const { row, space } = await this.#open(by, id);
    // What was proved is protected until its rows are there.
    await using intake = this.#intake(by, space);
    const parts = await this.#prints.proved(by.who, row, space, intake, nonce, proofs);
    if (parts.length === 0) return [];
    await intake.flush();
    await this.#save(row, space, parts);
    return parts.map(({ number }) => number);
  }

  async read(by: Uploader, id: UploadId, intake: Intake): Promise<ContentReader> {
    const { row } = await this.#open(by, id);
    if (row.kind !== "stream") throw wrongUse("this upload takes parts");
    const { chunks } = await this.#sourceOf({ ...row, size: undefined }, undefined);
    const reader = intake.part(chunks);
    if (reader.size !== row.received) throw lostStream();
    return reader;
  }

  // ---------------------------------------------------------------- completing

  /** Who asks while it is under way is told what it comes to. */
  async complete(by: Uploader, id: UploadId, completion: Completion): Promise<Completed> {
    for (;;) {
      const known = await this.#known(by, id);
      const running = this.#completing.get(id);
      if (running !== undefined) return { ...(await running), isFirst: false };
      const dropping = this.#dropping.get(id);
      if (dropping === undefined) {
        const completing = this.#complete(by, known, completion).finally(() => this.#completing.delete(id));
        this.#completing.set(id, completing);
        return completing;
      }
      await dropping;
    }
  }

  async #complete(by: Uploader, { row: { id }, space }: Known, completion: Completion): Promise<Completed> {
    await this.#appending.get(id)?.stop();
    // It may have been dropped before nobody could any more.
    const row = await this.#options.rows.get(id);
    if (row === undefined) throw unknownUpload(id);
    const wanted = (completion.parts ?? []).join();
    if (row.done !== undefined) {
      if (row.done.parts !== wanted) throw unknownUpload(row.id);
      return this.#again(row, space, row.done.sequence);
    }
    // Did a crash cut it off after its commit?
    const records = await this.#options.meta.journalOfRun(space.id, runOf(row));
    const record = records.find(({ path }) => path === row.path);
    if (record !== undefined) {
      await this.#finish(row, record, wanted, []);
      return this.#again(row, space, record.sequence);
    }
    const source = await this.#sourceOf(row, completion.parts);
    const result = await this.#commit(by, { row, space }, source, completion);
    if (result.status === "done") await this.#finish(row, result.version, wanted, printsOf(source, result.version));
    return { result, isFirst: true };
  }

  async #finish(row: UploadRow, { sequence, entry }: Version, parts: string, prints: readonly PrintRow[]): Promise<void> {
    const { rows, clock } = this.#options;
    const size = entry?.kind === "file" ? entry.size : 0;
    await rows.finish(row.id, { size, sequence, parts }, clock.nowMs() + UPLOAD_KNOWN_MS);
    // What it fails at stays until the upload is swept: nothing depends on it.
    const tidying = rows.tidy(row, prints).catch(() => undefined);
    this.#tidying.add(tidying);
    void tidying.then(() => this.#tidying.delete(tidying));
  }

  /** Resolves when nothing goes on behind any more. */
  async close(): Promise<void> {
    await this.#tidied();
  }

  /** Resolves when the rows of all that was completed until now are as they stay. */
  async #tidied(): Promise<void> {
    await Promise.all(this.#tidying);
  }

  async #again({ path, id }: UploadRow, space: Space, sequence: number): Promise<Completed> {
    const version = await this.#options.meta.versionAt(space.id, path, { sequence });
    if (version?.sequence !== sequence) throw unknownUpload(id);
    return { result: { status: "done", path, version }, isFirst: false };
  }

  async #sourceOf(row: UploadRow, numbers: readonly number[] | undefined): Promise<Source> {
    const { kind, size, id } = row;
    const wanted = numbers === undefined ? undefined : new Set(numbers);
    if (kind === "stream" && wanted !== undefined) throw wrongUse("this upload has no parts");
    const parts: PartRow[] = [];
    for await (const part of this.#options.rows.parts(id)) if (wanted?.has(part.number) ?? true) parts.push(part);
    const isInOrder = numbers === undefined || numbers.every((number, at) => at === 0 || number > numbers[at - 1]!);
    if (!isInOrder) throw wrongUse("parts are named in ascending order");
    if (wanted !== undefined && parts.length < wanted.size) {
      const there = new Set(parts.map(({ number }) => number));
      throw lacking(`part ${numbers!.find((number) => !there.has(number))} has not come`);
    }
    const chunks = parts.flatMap((part) => part.chunks);
    const total = parts.reduce((sum, part) => sum + part.size, 0);
    if (size !== undefined && total !== size) throw lacking(`${total} of ${size} bytes have come`);
    return { parts, chunks, runs: kind === "parts" ? parts : [streamRun(parts)] };
  }

  async #commit(by: Uploader, { row, space }: Known, source: Source, completion: Completion, runId = runOf(row)): Promise<ChangeResult> {
    const { spaces, clock } = this.#options;
    const { plan, path } = row;
    // Held until the commit is done: what rows name is pruned only when they are gone.
    await using intake = this.#intake(by, space);
    await this.#requireChunks(row, source, intake);
    const { chunks, runs } = source;
    const [only] = runs.length === 1 ? source.parts : [];
    const attributes = completion.attributes ?? plan.attributes;
    const encrypted = encryptedBytes({ attributes: attributes ?? NO_ATTRIBUTES });
    // Nobody compares what is encrypted, and sums of the parts are of what was.
    const known = encrypted === undefined ? { ...only?.sums, ...completion.sums } : NO_SUMS;
    const content = intake.join(chunks, limitsOf(chunks, limitsFor(row)), known);
    const summed = (): Promise<Sum> => sumOfRuns(runs, content.size, () => intake.part(chunks), seedsOf(space));
    const size = encrypted ?? content.size;
    const sum = encrypted === undefined ? await summed() : undefined;
    const mode = completion.mode ?? plan.mode;
    const mtimeNs = completion.mtimeNs ?? plan.mtimeNs ?? BigInt(clock.nowMs()) * 1_000_000n;
    const change: SpaceChange = {
      type: "put",
      path,
      expect: completion.expect ?? plan.expect,
      entry: { kind: "file", size, mode: mode ?? FILE_MODE, mtimeNs, sum },
      content,
      attributes,
      makeParents: true,
      lock: completion.lock,
      keepsKind: completion.keepsKind,
      keepsMode: completion.keepsMode ?? mode === undefined,
    };
    const { traceId, message } = completion;
    const request = { changes: [change], intake, atomic: true, cause: "upload", traceId, message, runId } as const;
    return (await spaces.commit(by.who, space.name, request)).results[0]!;
  }

  /** Parts whose bytes the store has lost are forgotten, so that they are sent again. */
  async #requireChunks(row: UploadRow, { parts, chunks }: Source, intake: StoreIntake): Promise<void> {
    const there = intake.has(chunks);
    if (there.every(Boolean)) return;
    if (row.kind === "stream") throw lostStream();
    let at = 0;
    const lost = parts.filter((part) => !there.slice(at, (at += part.chunks.length)).every(Boolean));
    await this.#options.rows.dropParts(row.id, lost);
    throw lostParts(lost.map(({ number }) => number));
  }

  async join(
    by: Uploader,
    wanted: NewUpload,
    streams: readonly UploadId[],
    completion: Completion,
  ): Promise<Completed & { upload: Upload }> {
    const all: Source[] = [];
    const of = new Set<SpaceId>();
    const sizes = new Map<UploadId, number>();
    for (const id of streams) {
      const { row, space } = await this.#open(by, id);
      if (row.kind !== "stream" || space.name !== wanted.space) throw wrongUse("only streams for the same space are joined");
      if (row.size !== row.received) throw lacking(`the upload ${id} has not come whole`);
      of.add(space.id);
      sizes.set(id, row.received);
      all.push(await this.#sourceOf(row, undefined));
    }
    const source = {
      parts: [],
      chunks: all.flatMap(({ chunks }) => chunks),
      runs: all.flatMap(({ runs }) => runs),
    };
    const size = source.runs.reduce((sum, run) => sum + run.size, 0);
    // They are for this file: who joins them needs no room for both.
    const counted = [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0);
    const { id } = await this.#create(by, { ...wanted, kind: "stream", size }, counted);
    try {
      const { row, space } = await this.#open(by, id);
      // The name was another's by then.
      if (!of.isSubsetOf(new Set([space.id]))) throw unknownSpace(wanted.space);
      const runId = joinedRun(row, streams);
      // Did whoever asked before not hear that it was done?
      const made = (await this.#options.meta.journalOfRun(space.id, runId)).find(({ path }) => path === row.path);
      const { result, isFirst } =
        made === undefined
          ? { result: await this.#commit(by, { row, space }, source, completion, runId), isFirst: true }
          : await this.#again(row, space, made.sequence);
      if (result.status === "done") {
        // It is made, whatever becomes of the note: who is told otherwise makes it once more. Without one it is swept.
        await this.#finish(row, result.version, "", []).catch(() => undefined);
        const done = { sequence: result.version.sequence, parts: "" };
        const told = { ...row, received: size, done, expiresMs: this.#options.clock.nowMs() + UPLOAD_KNOWN_MS };
        return { result, isFirst, upload: shown(told, space) };
      }
      await this.#options.rows.drop([id]);
      return { result, isFirst: true, upload: shown(row, space) };
    } catch (error) {
      await this.#options.rows.drop([id]);
      throw error;
    }
  }
}

/** Of parts of a file whose size nobody has told, large chunks: it comes so because it is large. */
function limitsFor({ size, kind }: UploadRow): ChunkLimits {
  if (size !== undefined) return chunkLimitsFor(size);
  return kind === "parts" ? CHUNK_LIMITS_LARGE : CHUNK_LIMITS;
}

const streamRun = (stretches: readonly PartRow[]): Run => ({
  size: stretches.reduce((sum, { size }) => sum + size, 0),
  leaves: new Uint8Array(Buffer.concat(stretches.map(({ leaves }) => leaves))),
});

/** Its parts by their SHA-256, where that was asked for. */
function printsOf({ parts }: Source, version: Version): PrintRow[] {
  const { content } = version;
  const prints: PrintRow[] = [];
  if (isEncrypted(version)) return prints;
  let start = 0;
  for (const { sums, size, chunks, leaves } of parts) {
    const { sha256 } = sums;
    const count = chunks.length;
    if (sha256 !== undefined && size > 0) prints.push({ sha256, size, content: content!.id, start, count, leaves });
    start += count;
  }
  return prints;
}

/** The run of its commit, by which it is found again, and taken back. */
const runOf = ({ id }: UploadRow): string => `upload-${id}`;

/** The same for who joins the same streams to the same path once more. */
function joinedRun({ path }: UploadRow, streams: readonly UploadId[]): string {
  const hash = new Bun.CryptoHasher("sha256").update(encodeName(path)).update(`\0${streams.join()}`).digest("hex");
  return `join-${hash.slice(0, 2 * ID_BYTES)}`;
}

function shown(row: UploadRow, space: Space): Upload {
  const { id, path, kind, size, received, plan, createdMs, expiresMs, note, done, job } = row;
  const { attributes, expect } = plan;
  return {
    id, space: space.name, path, kind, size, received, attributes, expect, createdMs, expiresMs, note,
    sequence: done?.sequence, job,
  };
}
