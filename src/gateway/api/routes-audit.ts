/** Who did what: pages for people, a stream for archives, and the proof that it is what was written. */
import * as z from "zod";
import { AUDIT_PAGE_MAX, type AuditRecord } from "#access/audit.ts";
import { messageOf } from "#model/error.ts";
import { holding, streamOf } from "#gateway/api/bytes-body.ts";
import { type AnyRoute, type Call, actorOf, json, route } from "#gateway/api/route.ts";
import { NAME, TIME, iso, on } from "#gateway/api/shapes-access.ts";
import { SEQUENCE, whole } from "#gateway/api/shapes.ts";

const NEWEST = Number.MAX_SAFE_INTEGER;
const HASH = z.string().regex(/^[0-9a-f]{64}$/);

const AUDIT = z
  .object({
    seq: SEQUENCE,
    time: TIME,
    actor: z.string(),
    action: z.string(),
    resource: z.string(),
    outcome: z.string(),
    address: z.string().optional(),
    traceId: z.string().optional(),
    details: z.unknown().optional(),
  })
  .meta({ id: "AuditRecord" });
export type AuditJson = z.infer<typeof AUDIT>;

const VERDICT = z
  .object({
    sound: z.boolean(),
    head: z.object({ seq: SEQUENCE, hash: z.string() }).optional(),
    seq: SEQUENCE.optional().describe("The first record that is not what was written"),
    why: z.string().optional(),
  })
  .meta({ id: "AuditVerdict" });
export type AuditVerdictJson = z.infer<typeof VERDICT>;

function auditJson({ seq, timeMs, actor, action, resource, outcome, address, traceId, details }: AuditRecord): AuditJson {
  return {
    seq,
    time: iso(timeMs),
    actor,
    action,
    resource,
    outcome,
    ...(address === undefined ? {} : { address }),
    ...(traceId === undefined ? {} : { traceId }),
    ...(details === undefined ? {} : { details: JSON.parse(details) as unknown }),
  };
}

export const AUDIT_ROUTES: readonly AnyRoute[] = [
  route({
    id: "audit.list",
    method: "GET",
    path: "/v1/audit",
    summary: "The audit log, newest first",
    allowed: () => on("audit", "read", "*"),
    query: z.strictObject({
      before: whole(1, NEWEST).optional(),
      limit: whole(1, AUDIT_PAGE_MAX).default(100),
      actor: NAME.optional(),
      action: NAME.optional(),
      resource: z.string().min(1).max(8192).optional(),
      outcome: z.enum(["done", "denied", "failed"]).optional(),
      traceId: z.string().regex(/^[0-9a-f]{32}$/).optional(),
      from: TIME.optional(),
      until: TIME.optional(),
    }),
    answers: {
      200: {
        description: "A page",
        schema: z.object({ records: z.array(AUDIT), nextBefore: SEQUENCE.optional() }),
      },
    },
    async handle({ services, query }) {
      const { before, limit, from, until, ...rest } = query;
      const filter = {
        ...rest,
        fromMs: from === undefined ? undefined : Date.parse(from),
        untilMs: until === undefined ? undefined : Date.parse(until),
      };
      const rows = await services.access.audit.page(filter, before, limit);
      return json(200, { records: rows.map(auditJson), ...(rows.length < limit ? {} : { nextBefore: rows.at(-1)!.seq }) });
    },
  }),
  route({
    id: "audit.export",
    method: "GET",
    path: "/v1/audit.ndjson",
    summary:
      "The audit log after a sequence as one stream, a record a line with its hash, up to what was written when it begins",
    allowed: () => on("audit", "read", "*"),
    query: z.strictObject({ after: whole(0, NEWEST).default(0) }),
    answers: { 200: { description: "The records", media: "application/x-ndjson" } },
    async handle({ services, query, trace, traffic }) {
      const { audit } = services.access;
      const lines = exportLines(audit, query.after, await audit.newest());
      const stream = streamOf(holding(traffic.download(), lines), (error) =>
        services.log.error("audit export broke off", {
          traceId: trace.traceId,
          error: messageOf(error),
        }),
      );
      return new Response(stream, { headers: { "content-type": "application/x-ndjson" } });
    },
  }),
  route({
    id: "audit.verify",
    method: "GET",
    path: "/v1/audit/verify",
    summary: "Is the audit log what was written, record by record; and does it hold a head that was noted earlier",
    allowed: () => on("audit", "read", "*"),
    query: z
      .strictObject({ seq: whole(1, NEWEST).optional(), hash: HASH.optional() })
      .refine(({ seq, hash }) => (seq === undefined) === (hash === undefined), { error: "seq and hash go together" }),
    answers: { 200: { description: "The verdict; note the head somewhere else", schema: VERDICT } },
    async handle({ services, query: { seq, hash } }) {
      const noted = seq === undefined || hash === undefined ? undefined : { seq, hash };
      return json(200, await services.access.audit.verify(noted));
    },
  }),
  route({
    id: "audit.accept",
    method: "POST",
    path: "/v1/audit/accept",
    summary:
      "Go on after damage that a person has looked at: the log continues behind its last record with who decided so and " +
      "what was found, and verify names the damage for ever. Where there is none nothing is done",
    allowed: () => on("audit", "manage", "*"),
    body: z.strictObject({ reason: z.string().min(1).max(1000) }),
    answers: { 200: { description: "What was found", schema: VERDICT } },
    async handle(call) {
      return json(200, await call.services.access.audit.acceptDamage(actorOf(call), call.body.reason));
    },
  }),
];

async function* exportLines(
  audit: Call["services"]["access"]["audit"],
  after: number,
  until: number,
): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder();
  for (let at = after; at < until; ) {
    const records = await audit.after(at, until);
    if (records.length === 0) return;
    at = records.at(-1)!.seq;
    const lines = records.map((record) => `${JSON.stringify({ ...auditJson(record), hash: Buffer.from(record.hash).toString("hex") })}\n`);
    yield encoder.encode(lines.join(""));
  }
}
