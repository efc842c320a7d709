/** Uploads in parts, as calls of the API. */
import type { RelPath } from "#model/path.ts";
import type { UploadAcceptedJson, UploadJson, UploadPartJson } from "#gateway/api/routes-uploads.ts";
import type { VersionJson } from "#gateway/api/shapes.ts";
import { percentEncode } from "#gateway/api/url-path.ts";
import type { HubClient } from "#gateway/client/hub-client.ts";
import type { Challenge, Print, Proof } from "#hub/uploads/upload.ts";

const PAGE = 1000;
/** Parts of one page: their hashes are a megabyte at most. */
const PARTS_PAGE = 10_000;

export type NewUploadJson = {
  readonly path: RelPath;
  readonly size: number;
  readonly mode: string;
  readonly mtime: string;
  readonly label: string;
};

export class UploadClient {
  readonly #client: HubClient;
  readonly #url: string;

  constructor(client: HubClient, space: string) {
    this.#client = client;
    this.#url = `/v1/spaces/${percentEncode(space)}/uploads`;
  }

  create(body: NewUploadJson): Promise<UploadJson> {
    return this.#client.call(this.#url, { method: "POST", body });
  }

  /** One's own unfinished ones at or below a path. */
  async *list(prefix: RelPath): AsyncGenerator<UploadJson> {
    for (let cursor: string | undefined; ; ) {
      const query = { prefix, cursor, limit: PAGE };
      const page = await this.#client.call<{ uploads: UploadJson[]; nextCursor?: string }>(this.#url, { query });
      yield* page.uploads;
      cursor = page.nextCursor;
      if (cursor === undefined) return;
    }
  }

  /** All parts that have come. */
  async parts(id: string): Promise<UploadPartJson[]> {
    return (await this.#client.call<{ parts: UploadPartJson[] }>(this.#at(id), { query: { limit: PARTS_PAGE } })).parts;
  }

  put(id: string, number: number, bytes: Uint8Array<ArrayBuffer>, sha256: Uint8Array): Promise<UploadPartJson> {
    const headers = { "content-digest": `sha-256=:${sha256.toBase64()}:` };
    return this.#client.call(`${this.#at(id)}/parts/${number}`, { method: "PUT", bytes, headers });
  }

  offer(id: string, parts: readonly Print[]): Promise<Challenge> {
    return this.#client.call(`${this.#at(id)}/offer`, { method: "POST", body: { parts } });
  }

  async prove(id: string, nonce: string, proofs: readonly Proof[]): Promise<number[]> {
    const body = { nonce, proofs };
    return (await this.#client.call<{ parts: number[] }>(`${this.#at(id)}/prove`, { method: "POST", body })).parts;
  }

  complete(id: string, parts: readonly number[]): Promise<VersionJson> {
    return this.#client.call(`${this.#at(id)}/complete`, { method: "POST", body: { parts } });
  }

  /** A job does it, unless it was done before. */
  accept(id: string, parts: readonly number[]): Promise<UploadAcceptedJson | VersionJson> {
    const headers = { prefer: "respond-async" };
    return this.#client.call(`${this.#at(id)}/complete`, { method: "POST", body: { parts }, headers });
  }

  async abort(id: string): Promise<void> {
    await this.#client.call(this.#at(id), { method: "DELETE" });
  }

  #at(id: string): string {
    return `${this.#url}/${percentEncode(id)}`;
  }
}
