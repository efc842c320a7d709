/** Webhooks at rest. Prefixes are JSON texts, because paths may hold what no text of a database does. */
import type { SealKey } from "#access/seal-key.ts";
import type { RelPath } from "#model/path.ts";
import type { Database, Migration, Sql } from "#platform/sql/database.ts";
import { isHeld } from "#platform/sql/lease.ts";
import type { JournalAction, SpaceId } from "#hub/space.ts";
import type { Webhook } from "#hub/webhooks/webhook.ts";

/** Whoever holds it makes the deliveries. */
export const WEBHOOK_LEASE = "webhooks";

export const WEBHOOK_MIGRATIONS: readonly Migration[] = [
  {
    id: 1,
    statements: [
      `CREATE TABLE webhooks (
        id TEXT PRIMARY KEY, space BIGINT NOT NULL, url TEXT NOT NULL, prefix TEXT NOT NULL, actions TEXT NOT NULL,
        sealed blob NOT NULL, enabled BIGINT NOT NULL, disabled_reason TEXT, created_ms BIGINT NOT NULL,
        created_by TEXT NOT NULL, lineage TEXT NOT NULL, delivered BIGINT NOT NULL, sending_until BIGINT,
        failing_since_ms BIGINT, last_error TEXT, last_ms BIGINT)`,
      "CREATE INDEX webhooks_space ON webhooks (space)",
    ],
  },
  { id: 2, statements: ["ALTER TABLE webhooks ADD COLUMN revision BIGINT NOT NULL DEFAULT 0"] },
];

type Row = {
  id: string;
  space: number;
  url: string;
  prefix: string;
  actions: string;
  sealed: Uint8Array;
  enabled: number;
  disabled_reason: string | null;
  created_ms: number;
  created_by: string;
  lineage: string;
  delivered: number;
  sending_until: number | null;
  failing_since_ms: number | null;
  last_error: string | null;
  last_ms: number | null;
  revision: number;
};

const purposeOf = (id: string): string => `webhook\0${id}`;

export class WebhookTable {
  readonly #db: Database;
  readonly #seal: SealKey;

  constructor(db: Database, seal: SealKey) {
    this.#db = db;
    this.#seal = seal;
  }

  async all(): Promise<Webhook[]> {
    return (await this.#db.all<Row>("SELECT * FROM webhooks ORDER BY id")).map(webhookOf);
  }

  async ofSpace(space: SpaceId): Promise<Webhook[]> {
    return (await this.#db.all<Row>("SELECT * FROM webhooks WHERE space = ? ORDER BY created_ms, id", [space])).map(webhookOf);
  }

  /** @param sql of a transaction that goes on with it */
  async get(id: string, sql: Sql = this.#db): Promise<Webhook | undefined> {
    const row = await sql.get<Row>("SELECT * FROM webhooks WHERE id = ?", [id]);
    return row === undefined ? undefined : webhookOf(row);
  }

  /** @throws {SynclineError} STATE when the seal key is another one */
  async secret(id: string): Promise<string | undefined> {
    const row = await this.#db.get<Row>("SELECT * FROM webhooks WHERE id = ?", [id]);
    return row === undefined ? undefined : this.#seal.open(row.sealed, purposeOf(id));
  }

  async insert(sql: Sql, hook: Webhook, secret: string): Promise<void> {
    await sql.run(
      `INSERT INTO webhooks (id, space, url, prefix, actions, sealed, enabled, created_ms, created_by, lineage, delivered)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      [
        hook.id,
        hook.spaceId,
        hook.url,
        JSON.stringify(hook.prefix),
        JSON.stringify(hook.actions),
        this.#seal.seal(secret, purposeOf(hook.id)),
        Number(hook.isEnabled),
        hook.createdMs,
        hook.createdBy,
        hook.lineage,
        hook.delivered,
      ],
    );
  }

  /**
   * What people change. How far the deliveries are is left as it is now, which may be further than in `hook`.
   * @param anew what makes deliveries begin anew: other changes are wanted, or their failures count no more
   */
  async update(sql: Sql, hook: Webhook, anew: { readonly bundle: boolean; readonly failures: boolean }): Promise<void> {
    await sql.run(
      `UPDATE webhooks SET url = ?, prefix = ?, actions = ?, enabled = ?, disabled_reason = ?,
        sending_until = CASE WHEN ? = 1 THEN NULL ELSE sending_until END,
        failing_since_ms = CASE WHEN ? = 1 THEN NULL ELSE failing_since_ms END, revision = revision + 1 WHERE id = ?`,
      [
        hook.url,
        JSON.stringify(hook.prefix),
        JSON.stringify(hook.actions),
        Number(hook.isEnabled),
        hook.disabledReason ?? null,
        Number(anew.bundle),
        Number(anew.failures),
        hook.id,
      ],
    );
  }

  /**
   * How far the deliveries are. False, and nothing, where it was removed or changed by a person since `hook` was read, or where the
   * deliveries are another process's by now.
   */
  async note(hook: Webhook, generation: number): Promise<boolean> {
    return this.#db.transaction(async (sql) => {
      if (!(await isHeld(sql, WEBHOOK_LEASE, generation))) return false;
      const noted = await sql.run(
        `UPDATE webhooks SET delivered = ?, sending_until = ?, failing_since_ms = ?, last_error = ?, last_ms = ?, lineage = ?
          WHERE id = ? AND enabled = 1 AND revision = ?`,
        [
          hook.delivered,
          hook.sendingUntil ?? null,
          hook.failingSinceMs ?? null,
          hook.lastError ?? null,
          hook.lastMs ?? null,
          hook.lineage,
          hook.id,
          hook.revision,
        ],
      );
      return noted === 1;
    });
  }

  /** For its failures; false where a person has changed it since, or the deliveries are another process's by now. */
  async switchOff(sql: Sql, { id, revision, disabledReason }: Webhook, generation: number): Promise<boolean> {
    if (!(await isHeld(sql, WEBHOOK_LEASE, generation))) return false;
    const text = "UPDATE webhooks SET enabled = 0, disabled_reason = ? WHERE id = ? AND enabled = 1 AND revision = ?";
    return (await sql.run(text, [disabledReason ?? null, id, revision])) === 1;
  }

  async remove(sql: Sql, id: string): Promise<void> {
    await sql.run("DELETE FROM webhooks WHERE id = ?", [id]);
  }
}

function webhookOf(row: Row): Webhook {
  return {
    id: row.id,
    spaceId: row.space as SpaceId,
    url: row.url,
    prefix: JSON.parse(row.prefix) as RelPath,
    actions: JSON.parse(row.actions) as JournalAction[],
    isEnabled: row.enabled !== 0,
    disabledReason: row.disabled_reason ?? undefined,
    createdMs: row.created_ms,
    createdBy: row.created_by,
    lineage: row.lineage,
    delivered: row.delivered,
    sendingUntil: row.sending_until ?? undefined,
    failingSinceMs: row.failing_since_ms ?? undefined,
    lastError: row.last_error ?? undefined,
    lastMs: row.last_ms ?? undefined,
    revision: row.revision,
  };
}
