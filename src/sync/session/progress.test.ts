/** What a session tells of how far it is. */
import { expect, test } from "bun:test";
import { INLINE_BYTES_MAX } from "#sync/endpoint/endpoint.ts";
import { type Outcome, SimPair, problemsOf } from "#testing/scenarios/sim-pair.ts";

const LARGE = "0123456789".repeat(20_000);

/** "steps/of bytes/of", as told last. */
function last({ events }: Outcome): string {
  const told = events.findLast((event) => event.type === "progress" && event.bytesTotal !== undefined);
  if (told?.type !== "progress") return "nothing";
  return `${told.done}/${told.total} ${told.bytes}/${told.bytesTotal}`;
}

test("[SESSION-68] progress comes to its end, also where something waits below a place that was refused", async () => {
  expect(LARGE.length).toBeGreaterThan(INLINE_BYTES_MAX);
  const pair = new SimPair();
  pair.beta.put({ ".synclineignore": "d\n!d/", d: "in the way" });
  await pair.run();
  pair.alpha.put({ "d/small": "1234", "d/large": LARGE, e: "one" });
  await pair.run();
  pair.alpha.put({ f: "12345" });
  const outcome = await pair.run();
  expect(problemsOf(outcome).map(({ path }) => path)).toEqual(["d"]);
  // The directory is asked for again.
  expect(last(outcome)).toBe("2/2 5/5");
});

test("[SESSION-68] so it does where bytes are copied on the spot, were there before, or cannot be had", async () => {
  const pair = new SimPair();
  pair.alpha.put({ large: LARGE, small: "small one", other: "other" });
  await pair.agree();
  pair.alpha.put({ "large copy": LARGE, "small copy": "small one", "unread large": `${LARGE}!`, "unread small": "?" });
  pair.alpha.user.patch("/root/large", "LARGE", 100_000);
  const outcome = await pair.run({}, ({ alpha }) => {
    alpha.fs.faults = (call, { path }) => (call === "openRead" && path.includes("unread") ? "EACCES" : undefined);
  });
  expect(problemsOf(outcome).map(({ path }) => path)).toEqual(["unread large", "unread small"]);
  const bytes = 3 * LARGE.length + 1 + "small one".length + 1;
  expect(last(outcome)).toBe(`5/5 ${bytes}/${bytes}`);
});
