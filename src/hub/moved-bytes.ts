/**
 * How many bytes of content each user and host has put into spaces and read from them since the hub's start, whichever
 * door it came through: this is counted where all of them meet. What the hub itself reads (sums, repair) is not.
 */
import type { ContentSource } from "#hub/space-service.ts";

/** Users and hosts that are counted by name; the rest share one count. */
export const NAMED_MAX = 10_000;
const OTHERS = "others";

export type Totals = { in: number; out: number };

export class MovedBytes {
  readonly bySpace = new Map<string, Totals>();
  readonly byUser = new Map<string, Totals>();

  /** Adds what is read or stored for somebody in a space. */
  counter(user: string, space: string): (direction: keyof Totals, bytes: number) => void {
    const ofSpace = totals(this.bySpace, space);
    const ofUser = totals(this.byUser, this.byUser.has(user) || this.byUser.size < NAMED_MAX ? user : OTHERS);
    return (direction, bytes) => {
      ofSpace[direction] += bytes;
      ofUser[direction] += bytes;
    };
  }

  taker(user: string, space: string): (bytes: number) => void {
    const count = this.counter(user, space);
    return (bytes) => count("in", bytes);
  }

  reader(inner: ContentSource, user: string, space: string): ContentSource {
    const count = this.counter(user, space);
    return {
      size: inner.size,
      isProved: inner.isProved,
      async read(into, position) {
        const bytes = await inner.read(into, position);
        count("out", bytes);
        return bytes;
      },
      async *stream(start, end) {
        for await (const piece of inner.stream(start, end)) {
          count("out", piece.length);
          yield piece;
        }
      },
    };
  }

  /** A space that was deleted or renamed is counted no more under its name. */
  forget(space: string): void {
    this.bySpace.delete(space);
  }
}

function totals(map: Map<string, Totals>, name: string): Totals {
  let found = map.get(name);
  if (found === undefined) map.set(name, (found = { in: 0, out: 0 }));
  return found;
}
