/** Bytes of files in and out. */
import { createHash } from "node:crypto";
import type { ContentSink } from "#hub/space-service.ts";
import { FILE_MODE } from "#model/entry.ts";
import { type Caller, interrupted } from "#gateway/grpc/calls.ts";
import { type FileParts, requirePresent } from "#gateway/grpc/file-service.ts";
import {
  type DownloadRequest, type UploadHeader, type UploadRequest, entryMessage, etagOf, expectOf, numberOf, placeOf, pointOf,
  wrong,
} from "#gateway/grpc/messages.ts";
import { GrpcRefusal, requireDone } from "#gateway/grpc/status.ts";
import { status } from "@grpc/grpc-js";

/** Data of one message of a download. */
const PIECE_BYTES = 256 << 10;
const MODE_BITS = 0o7777;
const SHA256_BYTES = 32;

/** The header, then bytes; what comes otherwise, or is not all, changes nothing. */
export async function upload(parts: FileParts, messages: AsyncIterable<UploadRequest>, caller: Caller): Promise<object> {
  const { spaces, access } = parts;
  const { who } = caller;
  const iterator = messages[Symbol.asyncIterator]();
  const first = await iterator.next();
  const header = first.done === true || first.value.part !== "header" ? undefined : first.value.header;
  if (header === undefined) throw wrong("the first message of an upload is its header");
  const { space, path } = placeOf(header.place, false);
  const size = header.size === undefined ? undefined : numberOf(header.size);
  if (header.sha256.length !== 0 && header.sha256.length !== SHA256_BYTES) throw wrong("a SHA-256 has 32 bytes");
  if (header.mode !== undefined && header.mode > MODE_BITS) throw wrong("these are no permission bits");
  access.require(who, "write", { type: "space", space, path });
  const expect = expectOf(header.condition, { kind: "any" });
  // Held until the commit is done: what was written is not pruned meanwhile.
  await using intake = spaces.intake(who, space);
  const sink = intake.sink(size);
  await takeBytes(parts, header, iterator, sink, size);
  // A call that broke off ends its messages with an error; one whose deadline came in this moment is none either.
  if (caller.signal.aborted) throw interrupted();
  const { content, sum } = await sink.end();
  const { mode, makeParents } = header;
  const mtimeNs = BigInt(header.mtimeNs ?? BigInt(parts.clock.nowMs()) * 1_000_000n);
  const entry = { kind: "file", size: content.size, mode: mode ?? FILE_MODE, mtimeNs, sum } as const;
  const change = { type: "put", path, expect, entry, content, makeParents, keepsMode: mode === undefined } as const;
  const request = { changes: [change], intake, atomic: true, cause: "upload", traceId: caller.traceId } as const;
  const now = await caller.renew();
  const [result] = (await spaces.commit(now, space, request)).results;
  const made = entryMessage(requireDone(result!, expect.kind === "absent"));
  // What stays of the file that was there is told to those who may read it.
  return access.decide(now, "read", { type: "space", space, path }).allowed ? made : { ...made, mode: undefined };
}

async function takeBytes(
  parts: FileParts,
  header: UploadHeader,
  iterator: AsyncIterator<UploadRequest>,
  sink: ContentSink,
  size: number | undefined,
): Promise<void> {
  const hash = header.sha256.length === 0 ? undefined : createHash("sha256");
  let total = 0;
  // The runtime ends a stream that was reset, or whose connection was lost, like one that was ended: its end says nothing.
  let isFinished = false;
  for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) {
    const { part, data, finish } = next.value;
    if (isFinished) throw wrong("nothing comes after the word that this was all");
    if (part === "finish" && finish === true) isFinished = true;
    else if (part !== "data" || data === undefined) throw wrong("after the header of an upload come its bytes");
    else {
      total += data.length;
      if (size !== undefined && total > size) throw wrong(`more than the ${size} bytes that were announced`);
      parts.count("in", data.length);
      hash?.update(data);
      await sink.write(data);
    }
  }
  if (size !== undefined && total !== size) throw wrong(`${total} bytes came instead of ${size}`);
  if (size === undefined && !isFinished) throw wrong("the upload broke off: it has neither a size nor the word that this was all");
  if (hash !== undefined && Buffer.compare(hash.digest(), header.sha256) !== 0) {
    throw new GrpcRefusal(status.DATA_LOSS, "DIGEST", "the SHA-256 of the bytes is another: send the file again");
  }
}

export async function download(
  parts: FileParts,
  request: DownloadRequest,
  { who, signal }: Caller,
  send: (message: object) => Promise<void>,
): Promise<void> {
  const { spaces } = parts;
  const { space, path } = placeOf(request.place, false);
  const version = requirePresent(await spaces.version(who, space, path, pointOf(request.atSequence)));
  if (version.entry?.kind !== "file") throw new GrpcRefusal(status.FAILED_PRECONDITION, "NO_FILE", "this is no file");
  if (request.ifSequence !== undefined && numberOf(request.ifSequence) !== version.sequence) {
    throw new GrpcRefusal(status.ABORTED, "STALE", `it was changed since: its sequence is ${version.sequence}`);
  }
  const [offset, length] = [numberOf(request.offset), numberOf(request.length)];
  const { size } = version.entry;
  if (offset > size) throw new GrpcRefusal(status.OUT_OF_RANGE, "RANGE", `the content has ${size} bytes`);
  await send({ entry: entryMessage(version) });
  if (request.unlessEtag !== "" && request.unlessEtag === etagOf(version)) return send({ notModified: true });
  const end = length === 0 ? size : Math.min(size, offset + length);
  if (offset === end) return;
  const reader = await spaces.open(who, space, version);
  for (let at = offset; at < end; ) {
    signal.throwIfAborted();
    const piece = new Uint8Array(Math.min(PIECE_BYTES, end - at));
    const count = await reader.read(piece, at);
    if (count === 0) throw new GrpcRefusal(status.DATA_LOSS, "CHUNK_MISSING", "the content is shorter than it was");
    parts.count("out", count);
    await send({ data: piece.subarray(0, count) });
    at += count;
  }
}
