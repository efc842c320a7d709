/**
 * Brings a large file into a space: hashed in parts, of which only those travel that the space does not have; several at a
 * time, verified, and kept by the hub, so that the same command goes on where an earlier one ended, whoever died.
 */
import { createHash } from "node:crypto";
import { closeSync, fstatSync, openSync, readFileSync, readSync, realpathSync } from "node:fs";
import { hostname } from "node:os";
import type { JobJson } from "#gateway/api/job-shapes.ts";
import type { VersionJson } from "#gateway/api/shapes.ts";
import type { HubClient } from "#gateway/client/hub-client.ts";
import { type NewUploadJson, UploadClient } from "#gateway/client/upload-client.ts";
import { PART_NUMBER_MAX, type Print, proofHead } from "#hub/uploads/upload.ts";
import { SynclineError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import type { Host } from "#platform/host.ts";
import { Persistence } from "#cli/persistence.ts";

const MIB = 1 << 20;
/** Smaller files go in one request. */
export const UPLOAD_FROM_BYTES = 32 * MIB;
/** More where there would be too many; always whole MiBs, so that the hub has the file's sum from those of its parts. */
const PART_BYTES = 8 * MIB;
/** Parts that are read and hashed, or sent, at a time. */
const PARALLEL = 4;
/** Parts that are hashed before what is lacking of them is sent. */
const WINDOW_PARTS = 64;

export type UploadSteps = {
  /** Bytes of the file that are at the hub. */
  readonly onBytes: (done: number) => void;
  readonly onTrouble: (error: SynclineError) => void;
};
export type Uploaded = {
  /** What it became, or the job that makes it. */
  readonly came: { readonly version: VersionJson } | { readonly job: JobJson };
  /** Bytes that travelled. */
  readonly sent: number;
};

/** `isLater`: a job of the hub makes the file. */
export type UploadHow = { readonly mtime: string; readonly mode: string; readonly isLater: boolean };

export function partBytesFor(size: number): number {
  return Math.max(PART_BYTES, Math.ceil(size / PART_NUMBER_MAX / MIB) * MIB);
}

export async function uploadFile(
  client: HubClient,
  file: string,
  to: { readonly space: string; readonly path: RelPath },
  how: UploadHow,
  host: Pick<Host, "sha256" | "clock">,
  steps: UploadSteps,
  signal: AbortSignal,
): Promise<Uploaded> {
  const fd = openSync(file, "r");
  try {
    const keep = new Persistence(host.clock, signal, steps.onTrouble);
    const upload = () => new FileUpload(new UploadClient(client, to.space), fd, file, host, keep, steps).run(to.path, how);
    try {
      return await upload();
    } catch (error) {
      if (!(error instanceof SynclineError) || error.code !== "NOT_FOUND") throw error;
      // Another command has gone on with the same upload, and ended it.
      return await upload();
    }
  } finally {
    closeSync(fd);
  }
}

type Hashed = Print & { readonly digest: Uint8Array };

class FileUpload {
  readonly #uploads: UploadClient;
  readonly #fd: number;
  readonly #file: string;
  readonly #host: Pick<Host, "sha256" | "clock">;
  readonly #keep: Persistence;
  readonly #steps: UploadSteps;
  readonly #size: number;
  readonly #stamp: string;
  readonly #partBytes: number;
  #done = 0;
  #sent = 0;

  constructor(
    uploads: UploadClient,
    fd: number,
    file: string,
    host: Pick<Host, "sha256" | "clock">,
    keep: Persistence,
    steps: UploadSteps,
  ) {
    this.#uploads = uploads;
    this.#fd = fd;
    this.#file = file;
    this.#host = host;
    this.#keep = keep;
    this.#steps = steps;
    this.#size = fstatSync(fd).size;
    this.#stamp = stampOf(fd);
    this.#partBytes = partBytesFor(this.#size);
  }

  async run(path: RelPath, { isLater, ...stamps }: UploadHow): Promise<Uploaded> {
    const count = Math.ceil(this.#size / this.#partBytes);
    const { id, there } = await this.#begin({ ...stamps, path, size: this.#size, label: this.#label() });
    for (let from = 1; from <= count; from += WINDOW_PARTS) {
      const numbers = Array.from({ length: Math.min(WINDOW_PARTS, count + 1 - from) }, (_, at) => from + at);
      await this.#window(id, numbers, there);
    }
    if (stampOf(this.#fd) !== this.#stamp) {
      await this.#uploads.abort(id).catch(() => undefined);
      throw changed(this.#file);
    }
    const all = Array.from({ length: count }, (_, at) => at + 1);
    const made = await this.#keep.of(() => (isLater ? this.#uploads.accept(id, all) : this.#uploads.complete(id, all)));
    return { came: "job" in made ? { job: made.job } : { version: made }, sent: this.#sent };
  }

  /** By what an upload of this very file to there is known again; it tells nobody which file that is. */
  #label(): string {
    const whose = createHash("sha256").update(`${hostname()}\0${realpathSync(this.#file)}\0${this.#stamp}`).digest("hex");
    return `put ${whose.slice(0, 32)} ${this.#partBytes}`;
  }

  /** Goes on with an earlier one; parts that it has count as far as they are those of the file. */
  async #begin(wanted: NewUploadJson): Promise<{ id: string; there: ReadonlyMap<number, string> }> {
    const earlier = await this.#keep.of(async () => {
      for await (const one of this.#uploads.list(wanted.path)) {
        if (one.path === wanted.path && one.label === wanted.label) return one;
      }
      return undefined;
    });
    if (earlier === undefined) return { id: (await this.#keep.of(() => this.#uploads.create(wanted))).id, there: new Map() };
    const parts = await this.#keep.of(() => this.#uploads.parts(earlier.id));
    return { id: earlier.id, there: new Map(parts.map(({ number, sha256 }) => [number, sha256 ?? ""])) };
  }

  async #window(id: string, numbers: readonly number[], there: ReadonlyMap<number, string>): Promise<void> {
    const hashed = await parallel(numbers, async (number): Promise<Hashed> => {
      const bytes = this.#read(number);
      const digest = await this.#host.sha256(bytes);
      return { number, size: bytes.length, sha256: digest.toHex(), digest };
    });
    const lacking = hashed.filter((one) => there.get(one.number) !== one.sha256);
    this.#count(hashed.filter((one) => !lacking.includes(one)));
    if (lacking.length === 0) return;
    const taken = new Set(await this.#prove(id, lacking));
    this.#count(lacking.filter(({ number }) => taken.has(number)));
    const toSend = lacking.filter(({ number }) => !taken.has(number));
    await parallel(toSend, (one) => this.#send(id, one));
  }

  /** Numbers of the parts that need not be sent. */
  async #prove(id: string, parts: readonly Hashed[]): Promise<number[]> {
    const prints = parts.map(({ number, size, sha256 }) => ({ number, size, sha256 }));
    const { nonce, parts: asked } = await this.#keep.of(() => this.#uploads.offer(id, prints));
    if (asked.length === 0) return [];
    const byNumber = new Map(prints.map((print) => [print.number, print]));
    const proofs = asked.flatMap(({ number, start, length }) => {
      const print = byNumber.get(number);
      if (print === undefined || start < 0 || length < 0 || start + length > print.size) return [];
      const bytes = this.#readAt((number - 1) * this.#partBytes + start, length);
      const hmac = new Bun.CryptoHasher("sha256", Buffer.from(nonce, "hex")).update(proofHead(print, start)).update(bytes);
      return [{ number, mac: hmac.digest("hex") }];
    });
    try {
      return await this.#uploads.prove(id, nonce, proofs);
    } catch (error) {
      // An answer that was lost cannot be asked for again: what was not taken over is sent.
      if (error instanceof SynclineError && (error.retryable || error.code === "STALE")) return [];
      throw error;
    }
  }

  async #send(id: string, { number, digest, size }: Hashed): Promise<void> {
    const bytes = this.#read(number);
    try {
      await this.#keep.of(() => this.#uploads.put(id, number, bytes, digest));
    } catch (error) {
      // The digest was made of what the file had a moment ago.
      const isOther = error instanceof SynclineError && error.code === "CHUNK_DAMAGED";
      throw isOther && stampOf(this.#fd) !== this.#stamp ? changed(this.#file) : error;
    }
    this.#sent += size;
    this.#count([{ size }]);
  }

  #count(parts: readonly { readonly size: number }[]): void {
    for (const { size } of parts) this.#done += size;
    this.#steps.onBytes(this.#done);
  }

  #read(number: number): Uint8Array<ArrayBuffer> {
    const from = (number - 1) * this.#partBytes;
    return this.#readAt(from, Math.min(this.#partBytes, this.#size - from));
  }

  #readAt(from: number, length: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; ) {
      const count = readSync(this.#fd, bytes, at, length - at, from + at);
      if (count === 0) throw changed(this.#file);
      at += count;
    }
    return bytes;
  }
}

/**
 * A small file as it is at one moment, with the stamps of that moment: sent while somebody writes to it, it would arrive as a
 * mixture that it never was.
 * @throws {SynclineError} STALE when it is changed while it is read
 */
export function readStill<T>(file: string, stampsOf: (fd: number) => T): { readonly bytes: Uint8Array<ArrayBuffer>; readonly stamps: T } {
  const fd = openSync(file, "r");
  try {
    const before = stampOf(fd);
    const stamps = stampsOf(fd);
    const bytes = new Uint8Array(readFileSync(fd));
    if (stampOf(fd) !== before) throw changed(file);
    return { bytes, stamps };
  } finally {
    closeSync(fd);
  }
}

/** PARALLEL of them at a time; the results in order. The first failure ends it when all that had begun have ended. */
async function parallel<T, R>(all: readonly T[], work: (one: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  let hasFailed = false;
  const worker = async (): Promise<void> => {
    while (next < all.length && !hasFailed) {
      const at = next++;
      try {
        results[at] = await work(all[at]!);
      } catch (error) {
        hasFailed = true;
        throw error;
      }
    }
  };
  const ended = await Promise.allSettled(Array.from({ length: PARALLEL }, worker));
  const failed = ended.find((one) => one.status === "rejected");
  if (failed !== undefined) throw failed.reason;
  return results;
}

function stampOf(fd: number): string {
  const { dev, ino, size, mtimeNs, ctimeNs } = fstatSync(fd, { bigint: true });
  return `${dev} ${ino} ${size} ${mtimeNs} ${ctimeNs}`;
}

function changed(file: string): SynclineError {
  return new SynclineError({
    code: "STALE",
    op: "put",
    path: file,
    message: `${file} was changed while it was sent; the space has what it had`,
    hint: "put it again when nobody writes to it",
  });
}
