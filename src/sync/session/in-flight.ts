/**
 * Changes that were sent to a side and whose outcome is not recorded: written before they can become visible, and after an
 * end that left it open kept until a scan has shown what became of each. Who takes the absence of what is still on its way
 * for a removal would take it away from the side that sent it.
 */
import { type RelPath, parentOf } from "#model/path.ts";
import type { Side } from "#model/plan.ts";
import type { Log } from "#sync/index/store.ts";
import { otherSide } from "#sync/plan/rows.ts";
import { type InFlight, appendInFlight, readInFlight } from "#sync/session/state-records.ts";

export class InFlightChanges {
  readonly #log: Log;
  readonly #onAdd: () => void;
  /** Changes whose outcome is not known wait to be recognised; also in the log. */
  #unsettled: readonly InFlight[] = [];
  /** Their sides and paths, when somebody has asked. */
  #coming: ReadonlySet<string> | undefined;

  /** @param onAdd writes from where they were planned, in the transaction in which some are added */
  constructor(log: Log, onAdd: () => void) {
    this.#log = log;
    this.#onAdd = onAdd;
  }

  /** Call before connecting: what was on its way when the process or the link ended may have arrived. */
  expect(): void {
    this.#wait([...this.all()]);
  }

  #wait(changes: readonly InFlight[]): void {
    this.#unsettled = changes;
    this.#coming = undefined;
  }

  /** Changes whose outcome is not known. */
  get unsettled(): readonly InFlight[] {
    return this.#unsettled;
  }

  /** From now on only these are in flight. Inside a transaction, together with what the others came to. */
  keep(changes: readonly InFlight[]): void {
    this.clear();
    this.#wait(changes);
    this.add(changes);
  }

  /**
   * Is `path` on its way from `side`, as far as it is known? Then what `side` filters out there is what it sent, and to
   * count as absent would be a deletion as soon as it is found to have arrived.
   */
  cameFrom(side: Side, path: RelPath): boolean {
    if (this.#unsettled.length === 0) return false;
    // A move takes along what is below.
    this.#coming ??= new Set(this.#unsettled.map((one) => `${one.side} ${one.path}${one.from === undefined ? "" : "/"}`));
    const to = otherSide(side);
    if (this.#coming.has(`${to} ${path}`)) return true;
    for (let at = path; at !== ""; at = parentOf(at)) if (this.#coming.has(`${to} ${at}/`)) return true;
    return false;
  }

  /** Call in a durable transaction before the changes can become visible. */
  add(changes: readonly InFlight[]): void {
    if (changes.length > 0) this.#onAdd();
    appendInFlight(this.#log, changes);
  }

  clear(): void {
    this.#wait([]);
    if (this.#log.first() <= this.#log.last()) this.#log.trim(this.#log.last());
  }

  all(): Iterable<InFlight> {
    return readInFlight(this.#log);
  }
}
