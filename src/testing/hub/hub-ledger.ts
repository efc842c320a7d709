/** What people of a simulated hub made: the contents themselves too, because a damaged one is healed from outside. */
import { Ledger, type Maker } from "#testing/sim-people.ts";

export class HubLedger extends Ledger {
  readonly bytes: Uint8Array[] = [];

  override fresh(maker: Maker, size: number, old?: Uint8Array): Uint8Array {
    const bytes = super.fresh(maker, size, old);
    this.bytes.push(bytes);
    return bytes;
  }
}
