/**
 * Live state as server-sent events: every committed change of a space as it happens, resumed by sequence.
 *
 * Nothing is queued for a listener. The stream reads the journal on as the client takes it, so one that is slow or was
 * away is as far behind as it is and misses nothing.
 */
import * as z from "zod";
import { eventStream, eventText } from "#gateway/api/event-stream.ts";
import { type AnyRoute, route } from "#gateway/api/route.ts";
import { SPACE_NAME_TEXT, journalJson, whole } from "#gateway/api/shapes.ts";

/** Records read at once for one listener. */
const PAGE_RECORDS = 100;

const BY_NAME = z.object({ space: SPACE_NAME_TEXT });
const QUERY = z.strictObject({ after: whole(0, Number.MAX_SAFE_INTEGER).optional() });

export const EVENT_ROUTES: readonly AnyRoute[] = [
  route({
    id: "space.events",
    method: "GET",
    path: "/v1/spaces/{space}/events",
    summary:
      "Changes of a space as they are committed (server-sent events; id is the sequence, data a JournalRecord). Goes on " +
      "after Last-Event-ID or ?after, otherwise with what comes next",
    allowed: "visible",
    params: BY_NAME,
    query: QUERY,
    answers: { 200: { description: "Events: hello, change", media: "text/event-stream" } },
    async handle(call) {
      const { spaces } = call.services;
      const name = call.params.space;
      const { id, sequence, lineage } = await spaces.space(call.who, name);
      const last = call.headers.get("last-event-id");
      const resumed = last !== null && /^\d{1,16}$/.test(last) ? Number(last) : call.query.after;
      // A number from before a restore of the hub is beyond what there is: the client sees another lineage, and all.
      let after = Math.min(resumed ?? sequence, sequence);
      return eventStream(call, {
        hello: eventText("hello", { sequence, lineage }, after),
        endedBy: ["AUTH", "DENIED", "SPACE_UNKNOWN"],
        watch: (wake, until) => spaces.watch(name, wake, until),
        async next(who) {
          // Another one may have the name by now, whose changes are numbered like those of this one.
          spaces.requireIs(name, id);
          const now = await spaces.space(who, name);
          if (after >= now.sequence) return undefined;
          const limit = Math.min(PAGE_RECORDS, now.sequence - after);
          spaces.requireIs(name, id);
          const records = await spaces.journal(who, name, after, limit);
          after += limit;
          return records.map((record) => eventText("change", journalJson(record), record.sequence)).join("");
        },
      });
    },
  }),
];
