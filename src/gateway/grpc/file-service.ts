/** FileService: the files of spaces, over SpaceService. */
import type { UntypedServiceImplementation } from "@grpc/grpc-js";
import type { HubAccess } from "#access/hub-access.ts";
import type { SpaceService } from "#hub/space-service.ts";
import type { JournalRecord, SpaceChange, Version } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";
import { type RelPath, decodeName, encodeName } from "#model/path.ts";
import type { Clock } from "#platform/host.ts";
import { type CallParts, type Caller, incoming, outgoing, unary } from "#gateway/grpc/calls.ts";
import {
  type DownloadRequest, type ListRequest, type MoveRequest, type RemoveRequest, type StatRequest, type UploadRequest,
  type WatchRequest, changeMessage, entryMessage, expectOf, pathOf, placeOf, pointOf, wrong,
} from "#gateway/grpc/messages.ts";
import { requireDone } from "#gateway/grpc/status.ts";
import { download, upload } from "#gateway/grpc/transfers.ts";
import { watch } from "#gateway/grpc/watching.ts";

/** Entries of one page. */
const PAGE_ENTRIES_MAX = 1_000;
/** Calls of a kind that are at work at once: each upload and download has buffers, each watcher is told of all changes. */
const UPLOADS_MAX = 64;
const DOWNLOADS_MAX = 256;
const WATCHERS_MAX = 512;

export type FileParts = CallParts & {
  readonly spaces: SpaceService;
  readonly access: HubAccess;
  readonly clock: Clock;
  /** Aborted when the hub takes no more work. */
  readonly closing: AbortSignal;
  readonly count: (direction: "in" | "out", bytes: number) => void;
};

export function fileService(parts: FileParts): UntypedServiceImplementation {
  const uploads = new Counted(UPLOADS_MAX, "uploads");
  const downloads = new Counted(DOWNLOADS_MAX, "downloads");
  const watchers = new Counted(WATCHERS_MAX, "watchers");
  return {
    ListSpaces: unary(parts, (_request, { who }) => listSpaces(parts, who)),
    List: unary<ListRequest>(parts, (request, caller) => list(parts, request, caller)),
    Stat: unary<StatRequest>(parts, async ({ place, atSequence }, { who }) => {
      const { space, path } = placeOf(place, false);
      return entryMessage(requirePresent(await parts.spaces.version(who, space, path, pointOf(atSequence))));
    }),
    Upload: incoming<UploadRequest>(
      parts,
      (messages, caller) => uploads.run(() => upload(parts, messages, caller)),
      ({ data }) => data?.length ?? 0,
    ),
    Download: outgoing<DownloadRequest>(parts, (request, caller, send) =>
      downloads.run(() => download(parts, request, caller, send))),
    Remove: unary<RemoveRequest>(parts, (request, caller) => remove(parts, request, caller)),
    Move: unary<MoveRequest>(parts, (request, caller) => move(parts, request, caller)),
    Watch: outgoing<WatchRequest>(parts, (request, caller, send) => watchers.run(() => watch(parts, request, caller, send))),
  };
}

/** So many at once, and no more. */
class Counted {
  readonly #max: number;
  readonly #what: string;
  #running = 0;

  constructor(max: number, what: string) {
    this.#max = max;
    this.#what = what;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#max) {
      const message = `${this.#max} ${this.#what} are at work already`;
      throw new SynclineError({ code: "LIMIT", op: "gRPC", message, hint: "try again in a moment", retryable: true });
    }
    this.#running++;
    try {
      return await work();
    } finally {
      this.#running--;
    }
  }
}

/** @throws {SynclineError} NOT_FOUND */
export function requirePresent(version: Version | undefined): Version {
  if (version?.entry !== undefined) return version;
  throw new SynclineError({ code: "NOT_FOUND", op: "look", message: "there is nothing at this path" });
}

async function listSpaces({ spaces }: FileParts, who: Caller["who"]): Promise<object> {
  const all = await spaces.spaces(who);
  return {
    spaces: all.map(({ name, sequence, usage, settings }) => ({
      name,
      sequence: String(sequence),
      bytes: String(usage.bytes),
      entries: String(usage.entries),
      quotaBytes: String(settings.quotaBytes ?? 0),
    })),
  };
}

async function list({ spaces }: FileParts, request: ListRequest, { who }: Caller): Promise<object> {
  const { space, path: below } = placeOf(request.below, true);
  const { pageSize, pageToken, recursive, atSequence } = request;
  if (pageSize > PAGE_ENTRIES_MAX) throw wrong(`a page has ${PAGE_ENTRIES_MAX} entries at most`);
  const limit = pageSize === 0 ? PAGE_ENTRIES_MAX : pageSize;
  const after = pageToken.length === 0 ? undefined : afterOf(pageToken, below);
  const page = await spaces.list(who, space, { below, after, shallow: !recursive, limit, at: pointOf(atSequence) });
  const last = page.at(-1);
  const hasMore = page.length === limit && last !== undefined;
  return { entries: page.map(entryMessage), ...(hasMore ? { nextPageToken: encodeName(last.path) } : {}) };
}

/** A token is the last path of its page. */
function afterOf(token: Uint8Array, below: RelPath): RelPath {
  const path = decodeName(token);
  if (below !== "" && !path.startsWith(`${below}/`)) throw wrong("the page token is of another directory");
  return path;
}

async function remove(parts: FileParts, { place, recursive, condition }: RemoveRequest, caller: Caller): Promise<object> {
  const { space, path } = placeOf(place, false);
  return changed(parts, space, { type: "remove", path, recursive, expect: expectOf(condition, { kind: "present" }) }, caller);
}

async function move(parts: FileParts, { from, toPath, toRawPath, condition }: MoveRequest, caller: Caller): Promise<object> {
  const { space, path } = placeOf(from, false);
  const to = pathOf(toPath, toRawPath, false);
  return changed(parts, space, { type: "move", from: path, to, expect: expectOf(condition, { kind: "present" }) }, caller);
}

async function changed({ spaces, clock }: FileParts, space: string, change: SpaceChange, caller: Caller): Promise<object> {
  const { who, traceId } = caller;
  const request = { changes: [change], intake: undefined, atomic: true, cause: "edit", traceId } as const;
  const { results } = await spaces.commit(who, space, request);
  const [result] = results;
  // Something at the new place of a move is there already; anything else that is stale was changed.
  const isMeantNew = change.type === "move" && result?.status === "stale" && result.path === change.to;
  const version = requireDone(result!, isMeantNew);
  const isMove = change.type === "move";
  return changeMessage({
    ...version,
    action: isMove ? "move" : "remove",
    from: isMove ? change.from : undefined,
    previous: 0,
    timeMs: clock.nowMs(),
    commit: version.sequence,
    origin: { actor: who.id, host: undefined, traceId, cause: "edit", runId: undefined, message: undefined },
  } satisfies JournalRecord);
}
