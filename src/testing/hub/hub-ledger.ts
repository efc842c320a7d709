/** What people of a simulated hub made: the contents themselves too, because a damaged one is healed from outside. */
import { LARGE_BYTES, Ledger, type Maker, STREAMED_BYTES } from "#testing/sim-people.ts";

export class HubLedger extends Ledger {
  readonly bytes: Uint8Array[] = [];

  override fresh(maker: Maker, size: number, old?: Uint8Array): Uint8Array {
    const bytes = super.fresh(maker, size, old);
    // Unless it is one with a hole. Chunks of bytes that are all alike would be one chunk.
    if (old === undefined && size === STREAMED_BYTES && bytes[LARGE_BYTES] !== 0) vary(bytes.subarray(LARGE_BYTES), this.bytes.length);
    this.bytes.push(bytes);
    return bytes;
  }
}

function vary(bytes: Uint8Array, seed: number): void {
  let state = seed + 1;
  for (let at = 0; at < bytes.length; at++) {
    state = (Math.imul(state, 0x915f77f5) + 1) | 0;
    bytes[at] = state >>> 24;
  }
}
