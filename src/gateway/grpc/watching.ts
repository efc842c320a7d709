/**
 * Changes of a space as they are committed. Nothing is queued for a watcher: the journal is read on as the caller takes
 * it, so one that is slow or was away is as far behind as it is, and misses nothing.
 */
import { isWithin, pathFault } from "#model/path.ts";
import type { Caller } from "#gateway/grpc/calls.ts";
import type { FileParts } from "#gateway/grpc/file-service.ts";
import { type WatchRequest, changeMessage, numberOf, wrong } from "#gateway/grpc/messages.ts";

/** Records read at once for one watcher. */
const PAGE_RECORDS = 100;
/** When nothing happens the caller is told how far it is. Its credential is looked at again so often in any case. */
const HEARTBEAT_MS = 15_000;

export async function watch(
  parts: FileParts,
  { space, below, afterSequence }: WatchRequest,
  caller: Caller,
  send: (message: object) => Promise<void>,
): Promise<void> {
  const { spaces, access, clock, closing } = parts;
  const fault = pathFault(below, true);
  if (fault !== undefined) throw wrong(`below: ${fault}`);
  const ended = new AbortController();
  const until = AbortSignal.any([ended.signal, closing, caller.signal]);
  let wake = Promise.withResolvers<void>();
  let lookedMono = clock.monotonicMs();
  const { sequence, id } = await spaces.space(caller.who, space);
  spaces.watch(space, () => wake.resolve(), until);
  access.onChange(() => wake.resolve(), until);
  until.addEventListener("abort", () => wake.resolve(), { once: true });
  let after = afterSequence === undefined ? sequence : Math.min(numberOf(afterSequence), sequence);
  try {
    // Says at once that it listens, and from where on.
    await send({ sequence: String(after) });
    while (!until.aborted) {
      wake = Promise.withResolvers<void>();
      // Where changes never cease there is no heartbeat, and a token may expire all the same.
      if (clock.monotonicMs() - lookedMono >= HEARTBEAT_MS) {
        lookedMono = clock.monotonicMs();
        await caller.again();
      }
      // Whoever was revoked, or may see less now, hears no more from then on.
      const who = await caller.renew();
      // Another one may have the name by now, whose changes are numbered like those of this one.
      spaces.requireIs(space, id);
      const { sequence: last } = await spaces.space(who, space);
      if (after < last) {
        const limit = Math.min(PAGE_RECORDS, last - after);
        spaces.requireIs(space, id);
        const records = await spaces.journal(who, space, after, limit);
        after += limit;
        const changes = records.filter(({ path, from }) => isWithin(path, below) || (from !== undefined && isWithin(from, below)));
        if (changes.length > 0) await send({ changes: changes.map(changeMessage), sequence: String(after) });
        continue;
      }
      const beat = new AbortController();
      const heartbeat = clock.sleep(HEARTBEAT_MS, AbortSignal.any([until, beat.signal])).then(() => true, () => false);
      const isDue = await Promise.race([wake.promise.then(() => false), heartbeat]);
      beat.abort();
      if (!isDue || until.aborted) continue;
      lookedMono = clock.monotonicMs();
      await caller.again();
      await send({ sequence: String(after) });
    }
  } finally {
    ended.abort();
  }
}
