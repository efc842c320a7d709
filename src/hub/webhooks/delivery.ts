/**
 * The deliveries of one webhook, in the order of the journal. Where a delivery ends is written down before it is sent, so
 * that after a crash it is sent again as it was, under the same id; what was delivered is written down after. So every
 * change is told at least once, and whoever remembers the last id or sequence takes none twice.
 */
import { systemPrincipal } from "#access/access.ts";
import { messageOf } from "#model/error.ts";
import { isWithin } from "#model/path.ts";
import type { Clock, Random } from "#platform/host.ts";
import type { PostAnswer, PostRequest } from "#platform/net/guarded-post.ts";
import type { SpaceService } from "#hub/space-service.ts";
import type { JournalRecord, Space } from "#hub/space.ts";
import {
  BODY_BYTES_MAX,
  CHANGES_PER_DELIVERY_MAX,
  DELIVERY_MS_MAX,
  FAILING_MS_MAX,
  FAILING_TRIED_MS_MIN,
  RETRY_MS_MAX,
  type Webhook,
  pauseMs,
  signatureOf,
} from "#hub/webhooks/webhook.ts";
import type { WebhookTable } from "#hub/webhooks/webhook-table.ts";

const WHO = systemPrincipal("webhooks");
/** A space that is away is looked for again. */
const AWAY_MS = 60_000;
/** After something that could not be written because somebody else changed it, or makes the deliveries by now. */
const REFUSED_MS = 1000;
/** Characters of an answer or an error that are kept for people. */
const ERROR_CHARS_MAX = 300;

export type DeliveryParts = {
  readonly table: WebhookTable;
  readonly spaces: Pick<SpaceService, "spaces" | "journal" | "idOf">;
  readonly clock: Clock;
  readonly random: Random;
  readonly post: (request: PostRequest) => Promise<PostAnswer>;
  readonly mayBePrivate: () => boolean;
  /** A change as receivers see it. */
  readonly describe: (record: JournalRecord) => unknown;
  /** A place among the deliveries that run; given back when disposed. */
  readonly place: (signal: AbortSignal) => Promise<Disposable>;
  /** Of the term in which it is made. */
  readonly generation: number;
  /** Switches it off. */
  readonly disable: (hook: Webhook, reason: string) => Promise<void>;
  readonly onOutcome: (hook: Webhook, outcome: "delivered" | "failed", changes: number) => void;
};

type Bundle = { readonly until: number; readonly body: string; readonly changes: number };

export class Delivery {
  readonly #parts: DeliveryParts;
  readonly id: string;
  #wake = Promise.withResolvers<void>();
  #failures = 0;
  /** Since when each try of this process has failed, by the monotonic clock. */
  #failingMono: number | undefined;
  /** Changes by people that were heard of. */
  #edits = 0;
  /** Of the webhook as it was read last. */
  revision = 0;

  constructor(parts: DeliveryParts, id: string) {
    this.#parts = parts;
    this.id = id;
  }

  /** There is something new: in the space, or about the webhook, which is then tried at once. */
  wake(isChanged: boolean): void {
    if (isChanged) {
      this.#edits++;
      this.#failures = 0;
    }
    this.#wake.resolve();
  }

  /** Until the signal, or until it is switched off or removed. */
  async run(signal: AbortSignal): Promise<void> {
    const end = (): void => this.#wake.resolve();
    signal.addEventListener("abort", end, { once: true });
    try {
      await this.#run(signal);
    } finally {
      // The signal is that of all webhooks, and outlives this one.
      signal.removeEventListener("abort", end);
    }
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      // First, so that what comes while it is looked at is not slept over.
      this.#wake = Promise.withResolvers<void>();
      const edits = this.#edits;
      const hook = await this.#parts.table.get(this.id);
      if (hook === undefined || !hook.isEnabled) return;
      this.revision = hook.revision;
      const space = (await this.#parts.spaces.spaces(WHO)).find(({ id }) => id === hook.spaceId);
      if (space === undefined) await this.#pause(AWAY_MS, signal);
      else if (hook.lineage !== space.lineage) await this.#beginAnew(hook, space, signal);
      else if (hook.delivered >= space.sequence) await this.#wake.promise;
      else await this.#deliver(hook, space, edits, signal);
    }
  }

  /** A hub that was restored from a backup counts anew: what is told goes on with what comes next. */
  async #beginAnew(hook: Webhook, { lineage, sequence }: Space, signal: AbortSignal): Promise<void> {
    await this.#note({ ...hook, lineage, delivered: sequence, sendingUntil: undefined }, signal);
  }

  /** False, after a rest, where it is not ours to write any more: everything is looked at anew then. */
  async #note(hook: Webhook, signal: AbortSignal): Promise<boolean> {
    const { table, generation } = this.#parts;
    const isWritten = await table.note(hook, generation);
    if (!isWritten) await this.#pause(REFUSED_MS, signal);
    return isWritten;
  }

  async #deliver(hook: Webhook, space: Space, edits: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#parts;
    const bundle = await this.#bundle(hook, space);
    // It has another name by now: it is looked at anew.
    if (bundle === undefined) return;
    const { until, body, changes } = bundle;
    if (changes === 0) {
      if (edits === this.#edits) await this.#note({ ...hook, delivered: until, sendingUntil: undefined }, signal);
      return;
    }
    if (hook.sendingUntil === undefined && !(await this.#note({ ...hook, sendingUntil: until }, signal))) return;
    const answer = await this.#send(hook, `${hook.id}.${until}`, body, signal);
    if (signal.aborted || edits !== this.#edits) return;
    const { error } = answer;
    this.#parts.onOutcome(hook, error === undefined ? "delivered" : "failed", changes);
    const now = clock.nowMs();
    if (error === undefined) {
      this.#failures = 0;
      this.#failingMono = undefined;
      const over = { delivered: until, sendingUntil: undefined, failingSinceMs: undefined, lastError: undefined, lastMs: now };
      await this.#note({ ...hook, ...over }, signal);
      return;
    }
    this.#failures++;
    const nowMono = clock.monotonicMs();
    this.#failingMono ??= nowMono;
    const failingSinceMs = hook.failingSinceMs ?? now;
    if (!(await this.#note({ ...hook, sendingUntil: until, failingSinceMs, lastError: error }, signal))) return;
    // The hub may not have run for days, or its clock was put forward: then it has been tried for a while first.
    const isTried = nowMono - this.#failingMono >= FAILING_TRIED_MS_MIN;
    if (answer.isGone || (isTried && now - failingSinceMs >= FAILING_MS_MAX)) {
      const since = new Date(failingSinceMs).toISOString();
      return this.#parts.disable(hook, answer.isGone ? `it asked for no more: ${error}` : `no delivery since ${since}: ${error}`);
    }
    const chance = this.#parts.random.bytes(1)[0]! / 255;
    await this.#pause(Math.max(pauseMs(this.#failures, chance), Math.min(answer.waitMs, RETRY_MS_MAX)), signal);
  }

  /**
   * The changes of one delivery, as few as its bytes allow; none where nothing of them is for this webhook. Undefined: the
   * name is not the space's any more, and may be another's.
   */
  async #bundle(hook: Webhook, space: Space): Promise<Bundle | undefined> {
    const { spaces, describe } = this.#parts;
    let until = hook.sendingUntil ?? Math.min(space.sequence, hook.delivered + CHANGES_PER_DELIVERY_MAX);
    if (spaces.idOf(space.name) !== space.id) return undefined;
    const records = (await spaces.journal(WHO, space.name, hook.delivered, until - hook.delivered)).filter(
      ({ sequence }) => sequence <= until,
    );
    const shown: unknown[] = [];
    let bytes = 0;
    for (const record of records) {
      if (!isFor(hook, record)) continue;
      const one = describe(record);
      bytes += Buffer.byteLength(JSON.stringify(one));
      if (bytes > BODY_BYTES_MAX && shown.length > 0 && hook.sendingUntil === undefined) {
        until = record.sequence - 1;
        break;
      }
      shown.push(one);
    }
    const { name, lineage } = space;
    const body = JSON.stringify({ type: "space.changed", webhook: hook.id, space: name, lineage, sequence: until, changes: shown });
    return { until, body, changes: shown.length };
  }

  /** One try, whatever comes of it is in the answer. */
  async #send(hook: Webhook, id: string, body: string, signal: AbortSignal): Promise<Tried> {
    using _place = await this.#parts.place(signal);
    if (signal.aborted) return { error: "the hub is ending", isGone: false, waitMs: 0 };
    return send(this.#parts, hook, id, body, signal);
  }

  async #pause(ms: number, signal: AbortSignal): Promise<void> {
    const awake = new AbortController();
    const rest = this.#parts.clock.sleep(ms, AbortSignal.any([signal, awake.signal])).catch(() => undefined);
    const edits = this.#edits;
    // New changes of the space do not shorten it, a person does.
    for (;;) {
      const isOver = await Promise.race([rest.then(() => true), this.#wake.promise.then(() => false)]);
      if (isOver || signal.aborted || edits !== this.#edits) break;
      this.#wake = Promise.withResolvers<void>();
      if (signal.aborted) break;
    }
    awake.abort();
  }
}

/** Undefined error: it was taken. */
export type Tried = { readonly error: string | undefined; readonly isGone: boolean; readonly waitMs: number };

/** Signs and sends one body. Never rejects. */
export async function send(
  { table, clock, post, mayBePrivate }: Pick<DeliveryParts, "table" | "clock" | "post" | "mayBePrivate">,
  hook: Webhook,
  id: string,
  body: string,
  signal: AbortSignal,
): Promise<Tried> {
  const seconds = Math.floor(clock.nowMs() / 1000);
  try {
    const secret = await table.secret(hook.id);
    if (secret === undefined) return { error: "it was removed", isGone: false, waitMs: 0 };
    const headers = {
      "content-type": "application/json",
      "user-agent": "syncline-webhook",
      "webhook-id": id,
      "webhook-timestamp": String(seconds),
      "webhook-signature": signatureOf(secret, id, seconds, body),
    };
    const request = { url: hook.url, headers, body, timeoutMs: DELIVERY_MS_MAX, mayBePrivate: mayBePrivate(), signal };
    const { status, text, retryAfterMs = 0 } = await post(request);
    if (status >= 200 && status < 300) return { error: undefined, isGone: false, waitMs: 0 };
    const words = text === "" ? "" : `: ${text}`;
    const error = `HTTP status ${status}${words}`.slice(0, ERROR_CHARS_MAX).toWellFormed();
    return { error, isGone: status === 410, waitMs: retryAfterMs };
  } catch (cause) {
    const error = messageOf(cause).slice(0, ERROR_CHARS_MAX);
    return { error, isGone: false, waitMs: 0 };
  }
}

/** What was moved away is told as well: the removal at the old path has a record of its own. */
function isFor({ prefix, actions }: Webhook, { path, action }: JournalRecord): boolean {
  return isWithin(path, prefix) && (actions.length === 0 || actions.includes(action));
}
