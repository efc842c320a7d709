import { expect, test } from "bun:test";
import fc from "fast-check";
import { FairPlaces } from "#platform/net/fair-places.ts";

test("[SFTP-60] places that anybody may take are never more than there are, and go from whoever holds most to whoever comes", () => {
  const step = fc.record({ address: fc.constantFrom("a", "b", "c", "d"), gives: fc.boolean() });
  fc.assert(fc.property(fc.integer({ min: 1, max: 6 }), fc.array(step, { maxLength: 60 }), (max, steps) => {
    const places = new FairPlaces(max);
    const held: { address: string; giveBack: () => void }[] = [];
    const countOf = (address: string): number => held.filter((one) => one.address === address).length;
    for (const { address, gives } of steps) {
      if (gives) {
        const at = held.findIndex((one) => one.address === address);
        const [one] = at < 0 ? [] : held.splice(at, 1);
        one?.giveBack();
        one?.giveBack();
      } else {
        const before = held.length;
        const mine = { address, giveBack: (): void => undefined };
        mine.giveBack = places.take(address, () => {
          const at = held.indexOf(mine);
          // First come, first gone.
          expect(held.findIndex((one) => one.address === address)).toBe(at);
          expect(countOf(address)).toBe(Math.max(...held.map((one) => countOf(one.address))));
          held.splice(at, 1);
        });
        held.push(mine);
        expect(held.length).toBe(Math.min(before + 1, max));
      }
      expect(places.count).toBe(held.length);
      expect(places.count).toBeLessThanOrEqual(max);
    }
  }));
});
