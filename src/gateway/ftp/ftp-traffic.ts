/** The sessions and transfers of a hub's FTP listeners: how many there may be, and what of them is counted. */
import type { Metrics } from "#gateway/api/metrics.ts";
import { FtpRefusal } from "#gateway/ftp/reply.ts";
import type { FtpSession } from "#gateway/ftp/session.ts";

/** Sessions of all listeners, of one address, and of one user. */
export const SESSIONS_MAX = 10_000;
export const ADDRESS_SESSIONS_MAX = 2_000;
export const USER_SESSIONS_MAX = 2_000;
/** Transfers at work; each holds a piece or two, an upload a few megabytes when it is fast. */
export const UPLOADS_MAX = 256;
export const DOWNLOADS_MAX = 512;

type Direction = "in" | "out";

export class FtpTraffic {
  readonly sessions = new Set<FtpSession>();
  readonly #transfers: Record<Direction, number> = { in: 0, out: 0 };
  readonly #bytes: ReturnType<Metrics["counter"]>;
  readonly #ended: ReturnType<Metrics["counter"]>;
  readonly #signIns: ReturnType<Metrics["counter"]>;

  constructor(metrics: Metrics) {
    this.#bytes = metrics.counter("syncline_ftp_content_bytes_total", "Bytes of content taken in and given out by FTP");
    this.#ended = metrics.counter("syncline_ftp_transfers_total", "FTP transfers that ended, by what they came to");
    this.#signIns = metrics.counter("syncline_ftp_sign_ins_total", "FTP sign-ins, by what they came to");
    metrics.ask("syncline_ftp_sessions", "gauge", "FTP sessions that are open", () => [{ value: this.sessions.size }]);
    metrics.ask("syncline_ftp_transfers_active", "gauge", "FTP transfers at work", () =>
      (["in", "out"] as const).map((direction) => ({ labels: { direction }, value: this.#transfers[direction] })),
    );
  }

  /** Whether one more session of an address may begin. */
  hasRoom(address: string): boolean {
    return this.sessions.size < SESSIONS_MAX && this.#count((one) => one.clientAddress === address) < ADDRESS_SESSIONS_MAX;
  }

  hasRoomForUser(user: string): boolean {
    return this.#count((one) => one.signedIn?.who.name === user) < USER_SESSIONS_MAX;
  }

  #count(is: (session: FtpSession) => boolean): number {
    // No limit can be met while there are fewer in all.
    if (this.sessions.size < Math.min(ADDRESS_SESSIONS_MAX, USER_SESSIONS_MAX)) return 0;
    let count = 0;
    for (const session of this.sessions) if (is(session)) count++;
    return count;
  }

  signIn(isDone: boolean): void {
    this.#signIns.add(1, { outcome: isDone ? "done" : "denied" });
  }

  /** A place for a transfer, until it is disposed. @throws {FtpRefusal} 450 */
  begin(direction: Direction): Disposable {
    if (this.#transfers[direction] >= (direction === "in" ? UPLOADS_MAX : DOWNLOADS_MAX)) {
      throw new FtpRefusal(450, "Too many transfers are at work; try again");
    }
    this.#transfers[direction]++;
    return { [Symbol.dispose]: () => void this.#transfers[direction]-- };
  }

  /** Whether the upload that asks is the only one at work. */
  get isAlone(): boolean {
    return this.#transfers.in === 1;
  }

  count(direction: Direction, bytes: number): void {
    this.#bytes.add(bytes, { direction });
  }

  ended(direction: Direction, isDone: boolean): void {
    this.#ended.add(1, { direction, outcome: isDone ? "done" : "failed" });
  }
}
