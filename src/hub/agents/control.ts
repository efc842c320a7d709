/**
 * What an agent and its hub say to each other on the control channel: one JSON value a message, of capped length, each
 * checked against its schema before anything is done with it. The channel is the one that the agent opens with method
 * "control" after it attached to the root "agent".
 *
 * Agent: `hello` first, then `heartbeat` every HEARTBEAT_MS and on change, `hold` when a plan is held, `renew` before
 * its certificate ends. Hub: `assign` after the hello and whenever the host's links change, `approve` when a person did,
 * `certificate` or `refused` as the answer to `renew`.
 */
import { z } from "zod";
import { SynclineError } from "#model/error.ts";
import { ASSIGNED_LINK, DECLARED_LINK, LINK_ID, LINKS_PER_HOST_MAX } from "#hub/agents/link.ts";

export const CONTROL_VERSION = 2;
/** From this version on an agent can be asked for parts of files. */
export const SUPPLY_VERSION = 2;
export const CONTROL_METHOD = "control";
/** Of a channel that the agent opens to send what it was asked for. */
export const SUPPLY_METHOD = "supply";
export const ENROL_METHOD = "enrol";
export const HELLO_METHOD = "hello";
export const AGENT_ROOT = "agent";
export const ENROL_ROOT = "enrol";
export const HELLO_ROOT = "hello";
export const LINK_ROOT = "link:";
/** Bytes of one part; the largest chunk of a store. */
const CHUNK_BYTES_MAX = 4 << 20;
/** Longest message. Fits a message of the wire (1 MiB). */
export const CONTROL_BYTES_MAX = 1 << 20;
export const HEARTBEAT_MS = 5000;
/** Changes of a held plan that are shown, and the characters they may take together. */
export const HOLD_CHANGES_MAX = 1000;
export const HOLD_CHARS_MAX = 256 << 10;

const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const text = z.string().max(2000);
const planHash = z.string().regex(/^[0-9a-f]{12,64}$/);
const linkId = z.string().regex(LINK_ID);
/** Public keys (SPKI, DER) and signatures. */
const BASE64 = z.string().regex(/^[A-Za-z0-9+/]{40,2000}={0,2}$/);

/**
 * What a link does now. `waiting`: outside of its windows · `retrying`: it failed and will be tried again · `halted`: it
 * failed, and a person must look · `held`: the brake held a plan.
 */
export const LINK_PHASES = [
  "disabled", "waiting", "connecting", "scanning", "planning", "transferring", "applying", "watching", "retrying", "held", "halted",
] as const;
export type LinkPhase = (typeof LINK_PHASES)[number];

export const LINK_STATE = z.strictObject({
  id: linkId,
  /** Of the assignment that it works by. */
  generation: count,
  phase: z.enum(LINK_PHASES),
  /** Up to which sequence of the space it has applied what came. */
  sequence: count,
  /** What of it is on its disk for good: also after a power loss it knows no less. Null: nothing yet. */
  stored: z
    .strictObject({ session: z.string().regex(/^[0-9a-f]{32}$/), epoch: z.string().max(200), sequence: count })
    .nullable(),
  /** Changes that it knows of and has not carried over. */
  backlog: count,
  /** Since when it has had something to carry over, in milliseconds; 0 when it has nothing. */
  lagMs: count,
  /** Files known to be the same on both sides. */
  files: count,
  conflicts: count,
  problems: count,
  /** Changes made since the agent began. */
  changes: count,
  /** How long ago its last complete cycle ended; null: none since the agent began. */
  syncedAgoMs: count.nullable(),
  /** Of what it agrees on with the space at `sequence`, when it has been computed. */
  digest: z.string().regex(/^[0-9a-f]{32}$/).nullable(),
  holdHash: planHash.nullable(),
  /** Why it is retrying or halted, or where watching is degraded. */
  error: z.strictObject({ code: z.string().max(40), message: text, hint: text.nullable() }).nullable(),
});
export type LinkState = z.infer<typeof LINK_STATE>;

const sideCounts = z.strictObject({
  creates: count,
  replaces: count,
  metadata: count,
  removes: count,
  moves: count,
  bytes: count,
});

export const HELD_PLAN = z.strictObject({
  link: linkId,
  hash: planHash,
  reason: text,
  counts: z.strictObject({ alpha: sideCounts, beta: sideCounts }),
  /** The first of its changes, one line each, as a person reads them. */
  changes: z.array(z.string().max(10_000)).max(HOLD_CHANGES_MAX),
  /** All of them. */
  total: count,
});
export type HeldPlan = z.infer<typeof HELD_PLAN>;

const FROM_AGENT = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("hello"),
    version: z.number().int().min(1).max(1000),
    program: z.string().max(200),
    platform: z.string().max(200),
    /** Links of its own command line or configuration. */
    links: z.array(DECLARED_LINK).max(LINKS_PER_HOST_MAX),
  }),
  z.strictObject({
    type: z.literal("heartbeat"),
    /** Wall clock of the agent, for its difference to the hub's. */
    sentMs: count,
    links: z.array(LINK_STATE).max(LINKS_PER_HOST_MAX),
  }),
  z.strictObject({ type: z.literal("hold"), plan: HELD_PLAN }),
  z.strictObject({ type: z.literal("renew"), publicKey: BASE64, proof: BASE64 }),
]);
export type FromAgent = z.infer<typeof FROM_AGENT>;

const FROM_HUB = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("assign"),
    version: z.number().int().min(1).max(1000),
    links: z.array(ASSIGNED_LINK).max(LINKS_PER_HOST_MAX),
  }),
  z.strictObject({ type: z.literal("approve"), link: linkId, hash: planHash }),
  z.strictObject({
    type: z.literal("supply"),
    request: z.string().regex(/^[0-9a-f]{32}$/),
    link: linkId,
    /** In the link's root. */
    path: z.string().min(1).max(10_000),
    position: count,
    length: count.max(CHUNK_BYTES_MAX),
  }),
  z.strictObject({ type: z.literal("certificate"), certificate: z.string().max(16_384), ca: z.string().max(65_536) }),
  z.strictObject({ type: z.literal("refused"), what: z.literal("renew"), message: text }),
]);
export type FromHub = z.infer<typeof FROM_HUB>;

/** What an agent that joins says, in one message, and the hub's answer to it. */
const ENROL_REQUEST = z.strictObject({
  token: z.string().min(1).max(1024),
  host: z.string().max(100),
  publicKey: BASE64,
  /** That the private key is its own (access/possession.ts). */
  proof: BASE64,
});
export type EnrolRequest = z.infer<typeof ENROL_REQUEST>;
const ENROL_REPLY = z.strictObject({
  hub: z.string().max(100),
  certificate: z.string().max(16_384),
  ca: z.string().max(65_536),
});
export type EnrolReply = z.infer<typeof ENROL_REPLY>;

export const decodeFromAgent = (bytes: Uint8Array): FromAgent => decode(FROM_AGENT, bytes);
export const decodeFromHub = (bytes: Uint8Array): FromHub => decode(FROM_HUB, bytes);
export const decodeEnrolRequest = (bytes: Uint8Array): EnrolRequest => decode(ENROL_REQUEST, bytes);
export const decodeEnrolReply = (bytes: Uint8Array): EnrolReply => decode(ENROL_REPLY, bytes);

/** @throws {SynclineError} LIMIT when it is longer than CONTROL_BYTES_MAX */
export function encodeControl(message: FromAgent | FromHub | EnrolRequest | EnrolReply): Uint8Array {
  const bytes = Buffer.from(JSON.stringify(message));
  if (bytes.length <= CONTROL_BYTES_MAX) return bytes;
  throw new SynclineError({ code: "LIMIT", op: "control", message: `a control message of ${bytes.length} bytes` });
}

/** @throws {SynclineError} PROTOCOL for what is not exactly a message of that kind */
function decode<T>(schema: z.ZodType<T>, bytes: Uint8Array): T {
  if (bytes.length > CONTROL_BYTES_MAX) throw malformed("too long");
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    throw malformed("no JSON");
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw malformed(`${issue?.path.join(".") ?? ""} ${issue?.message ?? ""}`.slice(0, 300));
}

function malformed(what: string): SynclineError {
  return new SynclineError({ code: "PROTOCOL", op: "control", message: `a control message that is none: ${what}` });
}
