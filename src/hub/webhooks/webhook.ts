/**
 * What a webhook is: an address that is told of the changes of a space, signed as Standard Webhooks says
 * (standardwebhooks.com): headers webhook-id, webhook-timestamp, webhook-signature over "id.timestamp.body".
 */
import { createHmac } from "node:crypto";
import type { RelPath } from "#model/path.ts";
import type { JournalAction, SpaceId } from "#hub/space.ts";

export const WEBHOOKS_MAX = 1000;
export const WEBHOOKS_PER_SPACE_MAX = 64;
/** Changes of one delivery, and bytes of its body unless a single change is larger. */
export const CHANGES_PER_DELIVERY_MAX = 100;
export const BODY_BYTES_MAX = 256 << 10;
/** One delivery, until its answer. */
export const DELIVERY_MS_MAX = 15_000;
/** Deliveries at a time. */
export const DELIVERIES_MAX = 16;
/** The first pause after a failure; each further one doubles it. */
export const RETRY_MS_FIRST = 1_000;
export const RETRY_MS_MAX = 3_600_000;
/** After this long without one success it is switched off. */
export const FAILING_MS_MAX = 5 * 86_400_000;
/** Of which the process that switches it off has seen this much. */
export const FAILING_TRIED_MS_MIN = 3_600_000;
export const URL_CHARS_MAX = 2048;
const SECRET_PREFIX = "whsec_";
const SECRET_BYTES_MIN = 24;
const SECRET_BYTES_MAX = 64;
export const SECRET_BYTES_DRAWN = 32;

export const WEBHOOK_ACTIONS = ["create", "replace", "metadata", "remove", "move"] as const satisfies readonly JournalAction[];

export type Webhook = {
  readonly id: string;
  readonly spaceId: SpaceId;
  readonly url: string;
  /** Only changes at and below it; "" is all. */
  readonly prefix: RelPath;
  /** Empty: all. */
  readonly actions: readonly JournalAction[];
  readonly isEnabled: boolean;
  /** Why it is switched off, where nobody did it. */
  readonly disabledReason: string | undefined;
  readonly createdMs: number;
  readonly createdBy: string;
  /** Of the space; another one: sequences begin to mean something else. */
  readonly lineage: string;
  /** All up to here were delivered, or were nothing to deliver. */
  readonly delivered: number;
  /** Where the delivery that is under way ends: tried again, it has the same id and the same changes. */
  readonly sendingUntil: number | undefined;
  readonly failingSinceMs: number | undefined;
  readonly lastError: string | undefined;
  /** Of the last delivery that succeeded. */
  readonly lastMs: number | undefined;
  /** Grows with each change by a person: what was read before one is not written after it. */
  readonly revision: number;
};

export function newSecret(bytes: Uint8Array): string {
  return SECRET_PREFIX + Buffer.from(bytes).toString("base64");
}

/** The bytes of a secret as people write it; undefined when it is none. */
export function secretBytes(text: string): Uint8Array | undefined {
  if (!text.startsWith(SECRET_PREFIX)) return undefined;
  const base64 = text.slice(SECRET_PREFIX.length);
  const bytes = Buffer.from(base64, "base64");
  const isWhole = bytes.toString("base64").replace(/=+$/, "") === base64.replace(/=+$/, "");
  return isWhole && bytes.length >= SECRET_BYTES_MIN && bytes.length <= SECRET_BYTES_MAX ? bytes : undefined;
}

/** @param seconds since 1970 */
export function signatureOf(secret: string, id: string, seconds: number, body: string): string {
  const mac = createHmac("sha256", secretBytes(secret)!).update(`${id}.${seconds}.${body}`).digest("base64");
  return `v1,${mac}`;
}

/** The pause after so many failures in a row: doubling, and anywhere between its half and its whole. @param chance 0..1 */
export function pauseMs(failures: number, chance: number): number {
  const whole = Math.min(RETRY_MS_MAX, RETRY_MS_FIRST * 2 ** Math.min(30, failures - 1));
  return Math.round(whole * (0.5 + chance / 2));
}
