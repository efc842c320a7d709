/**
 * How far the sessions of links have stored what came. A mark that is lost only makes a restored agent look less restored,
 * so they are kept in memory, and written now and then. Rows of the registry's tables (registry-rows.ts).
 */
import type { Database, SqlRow } from "#platform/sql/database.ts";

/** How far the session of a link has stored what came, by what its agent says. */
export type LinkMark = { readonly session: string; readonly epoch: string; readonly acknowledged: number };

type Marked = { readonly link: string; readonly host: string };
type Kept = Marked & { readonly mark: LinkMark; isSaved: boolean };

export class LinkMarks {
  readonly #db: Database;
  readonly #isThere: (one: Marked) => boolean;
  /** By "host link". */
  readonly #kept = new Map<string, Kept>();

  /** @param isThere whether there are the link and the host still */
  constructor(db: Database, isThere: (one: Marked) => boolean) {
    this.#db = db;
    this.#isThere = isThere;
  }

  /** What was written before the hub ended. Before all else. */
  async load(): Promise<void> {
    const rows = await this.#db.all<LinkMark & SqlRow & Marked>("SELECT link, host, session, epoch, acknowledged FROM agent_marks");
    for (const { link, host, session, epoch, acknowledged } of rows) {
      this.#kept.set(`${host} ${link}`, { link, host, mark: { session, epoch, acknowledged }, isSaved: true });
    }
  }

  of(link: string, host: string): LinkMark | undefined {
    return this.#kept.get(`${host} ${link}`)?.mark;
  }

  /** Another session, or another life of the space, begins with what it says; otherwise the higher sequence stays. */
  set(link: string, host: string, mark: LinkMark): void {
    // The connection of a link that was removed may be at work still.
    if (!this.#isThere({ link, host })) return;
    const known = this.of(link, host);
    const isSame = known?.session === mark.session && known.epoch === mark.epoch;
    if (isSame && known.acknowledged >= mark.acknowledged) return;
    this.#kept.set(`${host} ${link}`, { link, host, mark, isSaved: false });
  }

  /** As set, for what a heartbeat says: of a session that has gone meanwhile it says nothing. */
  acknowledge(link: string, host: string, mark: LinkMark): void {
    const known = this.of(link, host);
    if (known?.session === mark.session && known.epoch === mark.epoch) this.set(link, host, mark);
  }

  /** Does a link have this session, as far as is known? */
  hasSession(session: string): boolean {
    for (const { mark } of this.#kept.values()) if (mark.session === session) return true;
    return false;
  }

  /** Their rows have gone before. */
  forget(isGone: (one: Marked) => boolean): void {
    for (const [key, one] of this.#kept) if (isGone(one)) this.#kept.delete(key);
  }

  /** In turn with what removes rows. */
  async save(): Promise<void> {
    const unsaved = [...this.#kept.values()].filter(({ isSaved }) => !isSaved);
    if (unsaved.length === 0) return;
    await this.#db.transaction(async (sql) => {
      for (const { link, host, mark } of unsaved) {
        await sql.run(
          `INSERT INTO agent_marks (link, host, session, epoch, acknowledged) VALUES (?, ?, ?, ?, ?)
           ON CONFLICT (link, host) DO UPDATE SET
             session = excluded.session, epoch = excluded.epoch, acknowledged = excluded.acknowledged`,
          [link, host, mark.session, mark.epoch, mark.acknowledged],
        );
      }
    });
    // Not before: one that was refused would never be written again. What was set meanwhile is another one.
    for (const one of unsaved) one.isSaved = true;
  }
}
