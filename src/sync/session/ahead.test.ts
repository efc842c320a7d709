import { expect, test } from "bun:test";
import { INLINE_BYTES_MAX, type ComingNews } from "#sync/endpoint/endpoint.ts";
import { Ahead } from "#sync/session/ahead.ts";

test("[AHEAD-6] a fault while files are brought ahead is met by the session after its cycle", async () => {
  const fault = new TypeError("a fault");
  let tell: (news: ComingNews) => void = () => undefined;
  const stop = new AbortController();
  const coming = {
    watch: (onNews: (news: ComingNews) => void): Promise<void> => {
      tell = onNews;
      return new Promise((resolve) => stop.signal.addEventListener("abort", () => resolve(), { once: true }));
    },
    supply: () => Promise.reject(new Error("it broke off")),
  };
  const dropped = Promise.withResolvers<void>();
  const early = {
    bring: () => Promise.reject(new Error("it broke off")),
    drop: (): void => {
      dropped.resolve();
      throw fault;
    },
  };
  const ahead = new Ahead({ coming, early, isFree: () => true, bandwidth: undefined }, stop.signal);
  ahead.cycled();
  tell({ type: "begun", path: "large", size: INLINE_BYTES_MAX + 1 });
  await dropped.promise;
  await Bun.sleep(0);
  expect(() => ahead.cycled()).toThrow(fault);
  stop.abort();
  await ahead.end();
});
