/**
 * What a hub says of itself to anybody who asks: `GET /v1/hub` without credentials, and the attach root "hello" of its
 * sync listener. Nothing in it is trusted before the fingerprint of `ca` was compared with the one that was pinned.
 */
import { z } from "zod";
import { SynclineError } from "#model/error.ts";

export const HELLO_PATH = "/v1/hub";
/** Longest answer that is read. */
export const HELLO_BYTES_MAX = 64 << 10;
/**
 * A name that stands in the hub's own certificates and in no other of its authority. Agents check for it instead of
 * the address that they dial: a hub is reached under many, and an agent's certificate must never pass for a hub's.
 */
export const HUB_TLS_NAME = "hub.syncline.internal";

const HELLO = z.object({
  /** Made once; a hub that was moved to another machine or address keeps it. */
  id: z.string().min(1).max(100),
  /** Program and version, for messages. */
  program: z.string().max(200),
  /** Where agents and links connect, on the same host. */
  syncPort: z.number().int().min(1).max(65_535),
  /** "SHA256:" and 64 lower-case hex digits of the authority's certificate (DER). */
  fingerprint: z.string().regex(/^SHA256:[0-9a-f]{64}$/),
  /** PEM of that certificate. */
  ca: z.string().max(HELLO_BYTES_MAX),
});

export type HubHello = z.infer<typeof HELLO>;

/** @throws {SynclineError} PROTOCOL when it is none */
export function parseHello(text: string): HubHello {
  try {
    return HELLO.parse(JSON.parse(text));
  } catch (cause) {
    throw new SynclineError({
      code: "PROTOCOL",
      op: "ask hub",
      message: "the answer is not that of a syncline hub",
      hint: "check --hub: the address of the hub's HTTP API, or syncline://HOST:PORT of its sync listener",
      cause,
    });
  }
}
