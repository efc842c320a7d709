/**
 * What an agent and its hub say to each other on the control channel: one JSON value a message, of capped length, each
 * checked against its schema before anything is done with it. The channel is the one that the agent opens with method
 * "control" after it attached to the root "agent".
 *
 * Agent: `hello` first, then `heartbeat` every HEARTBEAT_MS and on change, `hold` when a plan is held, `renew` before
 * its certificate ends, `rescanned` as the answer to `rescan`, `conflicts` and `resolved` to `conflicts` and `resolve`.
 * Hub: `assign` after the hello and whenever the host's links change, `approve` when a person did, `rollback` and `resume`
 * when a person wants a link to show an earlier release, or to go on, `dependencies` to be told those of a project (the
 * agent answers with the same word, in parts), `certificate` or `refused` as the answer to `renew`, `rescan` when a job
 * asks, `conflicts` to be told those that a link has left open, `resolve` when a person has decided about one.
 */
import { z } from "zod";
import { SynclineError } from "#model/error.ts";
import { DEPENDENCIES_PER_PART, DEPENDENCY, PROJECT, PROJECTS_MAX } from "#hub/agents/dependencies.ts";
import { CONFLICTS_TOLD_MAX, KEEPS, LEFT_CONFLICT, LEFT_PATH, LEFT_TAG } from "#hub/agents/left-conflicts.ts";
import { PATH_SET } from "#hub/agents/path-set.ts";
import { ASSIGNED_LINK, DECLARED_LINK, LINK_ID, LINKS_PER_HOST_MAX, RELEASES_KEPT_MAX } from "#hub/agents/link.ts";

/** 2: `rescan`, `supply`, `rollback`, `resume`, `dependencies`. 3: `conflicts`, `resolve`. */
export const CONTROL_VERSION = 3;
/** From this version on an agent can be asked for conflicts. */
export const CONFLICTS_VERSION = 3;
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
/** So many entries a link may remove or replace before its brake asks, whatever the size of the side. */
export const BRAKE_COUNT_DEFAULT = 20;
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
 * failed, and a person must look · `held`: the brake held a plan · `paused`: something was taken back, and it stands
 * still until a person lets it go on.
 */
export const LINK_PHASES = [
  "disabled", "waiting", "connecting", "scanning", "planning", "transferring", "applying", "watching", "retrying", "held", "halted",
  "paused",
] as const;
export type LinkPhase = (typeof LINK_PHASES)[number];

/** Name of a release: its number, when it was made (UTC), and the sequence of the space that it shows. */
export const RELEASE_NAME = /^r\d{6,12}-\d{8}T\d{6}Z-s\d{1,16}$/;
const releaseName = z.string().regex(RELEASE_NAME);

const PAUSE = z.strictObject({
  reason: text,
  /** Who did it: a user, the host's own command line, or a command after a batch. */
  by: z.string().max(200),
  sinceMs: count,
  /** What the link shows meanwhile; null for a link without releases. */
  release: releaseName.nullable(),
});
export type LinkPause = z.infer<typeof PAUSE>;

/**
 * A project whose dependencies a link watches. `absent`: it has no manifest · `waiting`: it is tried again later, or has
 * run too often.
 */
const PROJECT_STATE = z.strictObject({
  project: z.string().regex(PROJECT),
  phase: z.enum(["unknown", "absent", "idle", "running", "waiting", "failed"]),
  /** Hash of the set of its resolved dependencies. */
  set: z.string().regex(/^[0-9a-f]{32}$/).nullable(),
  count,
  /** Are they installed, as far as the agent did it? */
  installed: z.boolean(),
  error: z.string().max(500).nullable(),
});
export type ProjectState = z.infer<typeof PROJECT_STATE>;

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
  pause: PAUSE.nullable().default(null),
  /** Of a link that makes releases: which there are, oldest first, and which is shown. */
  releases: z
    .strictObject({ names: z.array(releaseName).max(RELEASES_KEPT_MAX + 2), shown: releaseName.nullable() })
    .nullable()
    .default(null),
  projects: z.array(PROJECT_STATE).max(PROJECTS_MAX).default([]),
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
  /** The paths that it removes, as the link names them; null: they were not all named. */
  removals: z.strictObject({ host: PATH_SET, space: PATH_SET }).nullable().default(null),
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
  /** Parts of the answer to `dependencies`, in order; with `fault` there is none. */
  z.strictObject({
    type: z.literal("dependencies"),
    ask: count,
    items: z.array(DEPENDENCY).max(DEPENDENCIES_PER_PART),
    isLast: z.boolean(),
    fault: text.nullable(),
  }),
  /** The first of them, in order of their paths. */
  z.strictObject({
    type: z.literal("conflicts"),
    ask: count,
    conflicts: z.array(LEFT_CONFLICT).max(CONFLICTS_TOLD_MAX),
    total: count,
  }),
  /** A decision was taken, and the next session carries it out; or why not. */
  z.strictObject({
    type: z.literal("resolved"),
    ask: count,
    trouble: z.strictObject({ code: z.enum(["NOT_FOUND", "STALE", "UNSUPPORTED", "LIMIT", "INTERNAL"]), message: text }).nullable(),
  }),
  z.strictObject({ type: z.literal("renew"), publicKey: BASE64, proof: BASE64 }),
  /** Everything below the root was looked at; or why not. */
  z.strictObject({ type: z.literal("rescanned"), link: linkId, job: count, trouble: text.nullable() }),
]);
export type FromAgent = z.infer<typeof FROM_AGENT>;

const FROM_HUB = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("assign"),
    version: z.number().int().min(1).max(1000),
    links: z.array(ASSIGNED_LINK).max(LINKS_PER_HOST_MAX),
  }),
  z.strictObject({ type: z.literal("approve"), link: linkId, hash: planHash }),
  /** Null: to the one before the one that is shown. */
  z.strictObject({ type: z.literal("rollback"), link: linkId, release: releaseName.nullable(), by: z.string().max(200) }),
  /** What a project's dependencies are. */
  z.strictObject({ type: z.literal("dependencies"), ask: count, link: linkId, project: z.string().regex(PROJECT) }),
  z.strictObject({ type: z.literal("resume"), link: linkId, by: z.string().max(200) }),
  z.strictObject({ type: z.literal("conflicts"), ask: count, link: linkId }),
  z.strictObject({
    type: z.literal("resolve"),
    ask: count,
    link: linkId,
    path: LEFT_PATH,
    tag: LEFT_TAG,
    keep: z.enum(KEEPS),
    by: z.string().max(200),
  }),
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
  z.strictObject({ type: z.literal("rescan"), link: linkId, job: count }),
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
