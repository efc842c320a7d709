/** A channel that tells how many bytes went into it: the progress of a transfer between its results. */
import type { Channel } from "#sync/wire/channel.ts";

/** @param onSent called with the length of each message, before it is sent */
export function countedChannel(inner: Channel, onSent: (bytes: number) => void): Channel {
  return {
    send: (message, isGiven) => {
      onSent(message.length);
      return inner.send(message, isGiven);
    },
    receive: () => inner.receive(),
    end: () => inner.end(),
    fail: (error) => inner.fail(error),
  };
}
