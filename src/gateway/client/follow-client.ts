/** The space of another hub over its HTTP API. What comes is validated before anybody uses it. */
import type * as z from "zod";
import { SynclineError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import type { Target } from "#hub/followers/followers.ts";
import type { DigestAnswer, FollowSource, PathRange, SourceFacts, SourceMarks, SourcePage, WantedContent } from "#hub/followers/source.ts";
import {
  DIGEST_JSON,
  DROPPED_JSON,
  FACTS_JSON,
  MARKS_JSON,
  PAGE_JSON,
  RECORDS_JSON,
  factsOf,
  marksOf,
  pageOf,
  recordsOf,
} from "#gateway/api/follow-shapes.ts";
import { ABSENT } from "#gateway/api/routes-follow.ts";
import { percentEncode } from "#gateway/api/url-path.ts";
import { readBoundedJson } from "#gateway/client/bounded-json.ts";
import { refusal } from "#gateway/client/hub-client.ts";
import { type GuardedAddress, type Reach, guardedAddress } from "#platform/net/guarded-address.ts";
import { CHUNK_BYTES_MAX } from "#store/chunk-store.ts";
import type { ChunkId } from "#sync/chunk/chunk-id.ts";
import { unreachable } from "#gateway/client/unreachable.ts";

/** A question without an answer for so long beyond what it may wait is given up. */
const PATIENCE_MS = 60_000;
/** Between two pieces of an answer that is bytes. */
const STALLED_MS = 60_000;
/** Bytes of an answer that is JSON: of one with records, which may bring the manifest of the largest file; of any other. */
const RECORDS_BYTES_MAX = 256 << 20;
const FACTS_BYTES_MAX = 16 << 20;
const HEAD_BYTES = 36;

type Ask = {
  readonly method?: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly body?: unknown;
  readonly bytes?: Uint8Array;
  readonly waitMs?: number;
  readonly bytesMax?: number;
};

export class FollowClient implements FollowSource {
  readonly #target: Target;
  readonly #reach: () => Reach;

  /** @param reach asked for each request */
  constructor(target: Target, reach: () => Reach) {
    this.#target = target;
    this.#reach = reach;
  }

  async facts(signal: AbortSignal): Promise<SourceFacts> {
    return factsOf(await this.#json("follow", FACTS_JSON, {}, signal));
  }

  async page(after: number, waitMs: number, signal: AbortSignal): Promise<SourcePage> {
    const query = { after, wait: Math.floor(waitMs / 1000) };
    return pageOf(await this.#json("follow/journal", PAGE_JSON, { query, waitMs, bytesMax: RECORDS_BYTES_MAX }, signal));
  }

  async chunks(
    wanted: readonly WantedContent[],
    onChunk: (id: ChunkId, bytes: Uint8Array | undefined) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    const stalled = new AbortController();
    const until = AbortSignal.any([signal, stalled.signal]);
    const frames = new Frames();
    let timer = setTimeout(() => stalled.abort(), STALLED_MS);
    try {
      const response = await this.#ask("follow/chunks", { method: "POST", body: { wanted } }, until);
      for await (const piece of response.body ?? []) {
        clearTimeout(timer);
        frames.add(piece);
        for (let frame = frames.next(); frame !== undefined; frame = frames.next()) await onChunk(frame.id, frame.bytes);
        timer = setTimeout(() => stalled.abort(), STALLED_MS);
      }
    } catch (error) {
      signal.throwIfAborted();
      throw error instanceof SynclineError ? error : this.#lost(error);
    } finally {
      clearTimeout(timer);
      // The runtime keeps the signal of a request as long as anything it is made of may be aborted: that of a follower is
      // as old as the hub.
      stalled.abort();
    }
    if (!frames.isEmpty) throw this.#lost("the answer broke off");
  }

  async give(id: ChunkId, bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    try {
      const until = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]);
      await this.#ask(`follow/chunks/${id}`, { method: "PUT", bytes }, until);
    } catch (error) {
      // Somebody else was faster.
      if (!(error instanceof SynclineError) || error.code !== "NOT_FOUND") throw error;
    }
  }

  async dropped(sequences: readonly number[], signal: AbortSignal): Promise<number[]> {
    return (await this.#json("follow/dropped", DROPPED_JSON, { method: "POST", body: { sequences } }, signal)).sequences;
  }

  async marks(after: number, signal: AbortSignal): Promise<SourceMarks> {
    return marksOf(await this.#json("follow/marks", MARKS_JSON, { query: { after } }, signal));
  }

  digest(at: number, { from, to }: PathRange, detail: boolean, signal: AbortSignal): Promise<DigestAnswer> {
    const query = { at, to, detail, ...(from === "" ? {} : { from }) };
    return this.#json("digest", DIGEST_JSON, { query }, signal) as Promise<DigestAnswer>;
  }

  async history(path: RelPath, after: number, until: number, signal: AbortSignal) {
    const ask = { method: "POST", body: { path, after, until }, bytesMax: RECORDS_BYTES_MAX };
    return recordsOf(await this.#json("follow/history", RECORDS_JSON, ask, signal));
  }

  // ----------------------------------------------------------------

  async #json<T extends z.ZodType>(what: string, schema: T, ask: Ask, signal: AbortSignal): Promise<z.output<T>> {
    const limit = AbortSignal.timeout(PATIENCE_MS + (ask.waitMs ?? 0));
    const until = AbortSignal.any([signal, limit]);
    const response = await this.#ask(what, ask, until);
    let value: unknown;
    try {
      value = await readBoundedJson(response, ask.bytesMax ?? FACTS_BYTES_MAX);
    } catch (error) {
      signal.throwIfAborted();
      throw this.#lost(error);
    }
    const result = schema.safeParse(value);
    if (result.success) return result.data;
    const issue = result.error.issues[0];
    const message = `the hub at ${this.#target.url} answers what nobody understands: ${issue?.path.join(".")} ${issue?.message}`;
    throw new SynclineError({ code: "PROTOCOL", op: "follow", message, hint: "both hubs must be of about the same version" });
  }

  /** @throws {SynclineError} what the hub says; LINK_LOST, TRUST when it cannot be reached */
  async #ask(what: string, { method = "GET", query = {}, body, bytes }: Ask, signal: AbortSignal): Promise<Response> {
    const { url, source, token, ca } = this.#target;
    const words = Object.entries(query)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => `${name}=${percentEncode(String(value))}`);
    const wanted = `${url}/v1/spaces/${percentEncode(source)}/${what}${words.length === 0 ? "" : `?${words.join("&")}`}`;
    const { href, host, serverName } = await this.#guarded(wanted, signal);
    const init: BunFetchRequestInit = {
      method,
      signal,
      redirect: "manual",
      // A connection of the pool might have been made for another name at this address.
      keepalive: false,
      headers: {
        host,
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(bytes === undefined ? {} : { body: new Uint8Array(bytes) }),
      tls: { serverName, ...(ca === undefined ? {} : { ca }) },
    };
    let response: Response;
    try {
      response = await fetch(href, init);
    } catch (error) {
      throw this.#lost(error);
    }
    if (response.ok) return response;
    const { code, op, message, hint, retryable } = await refusal(response);
    // Whoever reads it asked another hub for something else.
    throw new SynclineError({ code, op, message: `the hub at ${url} says: ${message}`, hint, retryable });
  }

  async #guarded(wanted: string, signal: AbortSignal): Promise<GuardedAddress> {
    const { url } = this.#target;
    try {
      return await guardedAddress(wanted, this.#reach(), signal);
    } catch (error) {
      // The system's errors have codes: a name that cannot be resolved now may be later.
      if (!(error instanceof Error) || "code" in error || signal.aborted) throw this.#lost(error);
      throw new SynclineError({
        code: "USAGE",
        op: "follow",
        message: `the hub at ${url} may not be reached: ${error.message}`,
        hint: "followSources in this hub's configuration says what may be: public, private or any",
        cause: error,
      });
    }
  }

  #lost(cause: unknown): SynclineError {
    return unreachable(this.#target.url, "follow", cause, {
      certificate: "--source-ca FILE names that hub's authority (ca.pem in its data directory)",
      otherwise: "is it running?",
    });
  }
}

/** Takes pieces of any size; gives whole chunks. Holds one chunk and one piece at most, and joins them once. */
class Frames {
  #pieces: Uint8Array[] = [];
  #length = 0;
  /** Of the frame that has begun; undefined: its head is not known. */
  #wanted: number | undefined;

  get isEmpty(): boolean {
    return this.#length === 0;
  }

  add(piece: Uint8Array): void {
    this.#pieces.push(piece);
    this.#length += piece.length;
  }

  /** @throws {SynclineError} PROTOCOL for a chunk that is larger than any */
  next(): { id: ChunkId; bytes: Uint8Array | undefined } | undefined {
    if (this.#length < (this.#wanted ?? HEAD_BYTES)) return undefined;
    const bytes = this.#joined();
    const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(32, true);
    if (length !== ABSENT && length > CHUNK_BYTES_MAX) {
      throw new SynclineError({ code: "PROTOCOL", op: "follow", message: "a chunk that is too long" });
    }
    const end = HEAD_BYTES + (length === ABSENT ? 0 : length);
    this.#wanted = end;
    if (bytes.length < end) return undefined;
    this.#wanted = undefined;
    this.#pieces = bytes.length === end ? [] : [bytes.subarray(end)];
    this.#length = bytes.length - end;
    const id = bytes.subarray(0, 32).toHex() as ChunkId;
    return { id, bytes: length === ABSENT ? undefined : bytes.subarray(HEAD_BYTES, end) };
  }

  #joined(): Uint8Array {
    if (this.#pieces.length > 1) this.#pieces = [new Uint8Array(Buffer.concat(this.#pieces))];
    return this.#pieces[0]!;
  }
}
