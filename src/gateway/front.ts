/** The main listener's front: which door answers a request. What no door takes is for the API. */
import { splitUrl } from "#gateway/api/url-path.ts";

/** Answers one request; never rejects. `address` is the client's. */
export type Handle = (request: Request, address: string) => Promise<Response>;

export type FrontRow = {
  /** @param path as it was sent, percent-encoded */
  readonly takes: (path: string, method: string) => boolean;
  readonly handle: Handle;
};

/** The prefix itself and everything below it. */
export function isAtOrBelow(path: string, prefix: string): boolean {
  return path === prefix || path.startsWith(`${prefix}/`);
}

/** The first row that takes a request answers it. */
export function frontOf(rows: readonly FrontRow[], api: Handle): Handle {
  return (request, address) => {
    const { path } = splitUrl(request.url);
    const row = rows.find(({ takes }) => takes(path, request.method));
    return (row?.handle ?? api)(request, address);
  };
}
