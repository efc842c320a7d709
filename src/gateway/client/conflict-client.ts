/** The calls about conflicts of spaces, typed. */
import type { Keep } from "#hub/agents/left-conflicts.ts";
import type { RelPath } from "#model/path.ts";
import type { ConflictJson, LeftConflictJson, UnansweredJson } from "#gateway/api/routes-conflicts.ts";
import { percentEncode } from "#gateway/api/url-path.ts";
import type { HubClient } from "#gateway/client/hub-client.ts";

const PAGE_ROWS = 500;

export type ConflictsJson = {
  readonly conflicts: ConflictJson[];
  /** Of the space when the first page was read. */
  readonly sequence: number;
  readonly left: LeftConflictJson[];
  readonly unanswered: UnansweredJson[];
};
type PageJson = ConflictsJson & { readonly nextCursor?: string };

export class ConflictClient {
  readonly #hub: HubClient;

  constructor(hub: HubClient) {
    this.#hub = hub;
  }

  /** @param max conflict copies that are listed */
  async list(space: string, below: RelPath, max: number): Promise<ConflictsJson & { readonly hasMore: boolean }> {
    const url = `/v1/spaces/${percentEncode(space)}/conflicts`;
    const ask = (cursor?: string): Promise<PageJson> =>
      this.#hub.call(url, { query: { below, cursor, limit: Math.min(PAGE_ROWS, max) } });
    const { nextCursor, ...first } = await ask();
    const { conflicts } = first;
    let next = nextCursor;
    while (next !== undefined && conflicts.length < max) {
      const page = await ask(next);
      conflicts.push(...page.conflicts);
      next = page.nextCursor;
    }
    return { ...first, conflicts: conflicts.slice(0, max), hasMore: next !== undefined || conflicts.length > max };
  }

  resolve(
    space: string,
    body: { copy: RelPath; keep: Keep; as?: RelPath | undefined; sequence: number; message?: string | undefined },
  ): Promise<{ runId: string; before: number; after: number }> {
    return this.#hub.call(`/v1/spaces/${percentEncode(space)}/conflicts/resolve`, { method: "POST", body });
  }

  /** The next session of the link carries it out. */
  resolveLeft({ link, host, path, tag }: LeftConflictJson, keep: Keep): Promise<void> {
    const url = `/v1/links/${percentEncode(link)}/${percentEncode(host)}/conflicts/resolve`;
    return this.#hub.call(url, { method: "POST", body: { path, tag, keep } });
  }
}
