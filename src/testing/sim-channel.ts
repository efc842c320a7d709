/** A channel between two simulated hosts: messages take time, keep their order, and the line may be cut at any. */
import { MemoryChannel, MemoryPipe, linkLost } from "#sync/transport/memory-channel.ts";
import { CHANNEL_WINDOW_BYTES, type Channel } from "#sync/wire/channel.ts";
import type { SimClock } from "#testing/sim-clock.ts";
import type { SimRandom } from "#testing/sim-random.ts";

export type SimChannelFaults = {
  /** Longest time a message is under way; 0 to this, drawn for each. Default 0: the next turn. */
  readonly delayMs?: number;
  /** Chance, for each message, that the line is cut while it is under way. What is under way then is lost. */
  readonly cutChance?: number;
  /** Bytes under way before a sender must wait. Small ones make waiting usual. */
  readonly windowBytes?: number;
};

export type SimChannelPair = {
  readonly ends: [Channel, Channel];
  /** Cuts the line now: everything under way is lost, both sides get LINK_LOST. */
  cut(): void;
  /** Messages carried so far, both ways together. */
  messages(): number;
};

export function simChannelPair(clock: SimClock, random: SimRandom, faults: SimChannelFaults = {}): SimChannelPair {
  let count = 0;
  const cut = (): void => {
    const error = linkLost("the line was cut");
    for (const pipe of pipes) pipe.fail(error);
  };
  const makePipe = (): MemoryPipe => {
    // Timers of one moment fire in any order, so each takes whatever is first in line: the order is kept.
    const underWay: (() => void)[] = [];
    let lastAtMs = 0;
    return new MemoryPipe(faults.windowBytes ?? CHANNEL_WINDOW_BYTES, (arrive) => {
      count++;
      const isCut = random.chance(faults.cutChance ?? 0);
      underWay.push(isCut ? cut : arrive);
      lastAtMs = Math.max(lastAtMs, clock.monotonicMs() + random.real() * (faults.delayMs ?? 0));
      clock.after(lastAtMs - clock.monotonicMs(), () => underWay.shift()!());
    });
  };
  const pipes: [MemoryPipe, MemoryPipe] = [makePipe(), makePipe()];
  const [forth, back] = pipes;
  return {
    ends: [new MemoryChannel(forth, back), new MemoryChannel(back, forth)],
    cut,
    messages: () => count,
  };
}
