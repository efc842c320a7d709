import { describe, expect, test } from "bun:test";
import { IncomingBody } from "#platform/net/http1/request-body.ts";
import { PACE_BYTES_MIN, PACE_WINDOW_MS, Pace, paced } from "#platform/net/pace.ts";

const codeOf = async (work: () => unknown): Promise<string> => {
  try {
    await work();
  } catch (error) {
    return (error as { code: string }).code;
  }
  return "none";
};

/** A sender of pieces, each after a while, on a clock that nobody else moves. */
async function taken(sizes: readonly number[], waitMs: number, ownMs: number): Promise<number> {
  let nowMs = 0;
  const left = [...sizes];
  const body = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        nowMs += waitMs;
        const size = left.shift();
        if (size === undefined) controller.close();
        else controller.enqueue(new Uint8Array(size));
      },
    },
    { highWaterMark: 0 },
  );
  let total = 0;
  for await (const piece of paced(body, () => nowMs)) {
    total += piece.length;
    nowMs += ownMs;
  }
  return total;
}

describe("the pace of a body", () => {
  test("[PACE-1] who sends too little in a window is refused, and no window is carried by the one before", async () => {
    const pace = new Pace();
    pace.came(10 * PACE_BYTES_MIN, PACE_WINDOW_MS);
    pace.came(1, PACE_WINDOW_MS - 1);
    expect(await codeOf(() => pace.came(PACE_BYTES_MIN - 2, 1))).toBe("LIMIT");
    const [few, enough] = [Array.from({ length: 70 }, () => 1), Array.from({ length: 300 }, () => PACE_BYTES_MIN / 60)];
    expect(await codeOf(() => taken(few, 1000, 0))).toBe("LIMIT");
    expect(await taken(enough.map(Math.ceil), 1000, 0)).toBeGreaterThan(PACE_BYTES_MIN);
  });

  test("[PACE-1] what the hub itself needs is not the sender's", async () => {
    expect(await taken(Array.from({ length: 70 }, () => 1), 10, PACE_WINDOW_MS)).toBe(70);
  });

  test("[PACE-1] so it is on connections of the server for S3", async () => {
    let nowMs = 0;
    const source = { onFirstRead: () => undefined, pause: () => undefined, resume: () => undefined };
    const body = new IncomingBody(undefined, source, () => nowMs);
    for (let at = 0; at < PACE_WINDOW_MS / 1000 - 1; at++) {
      const piece = body.read();
      nowMs += 1000;
      body.push(new Uint8Array(1));
      expect((await piece)?.length).toBe(1);
    }
    const last = Promise.resolve(body.read());
    nowMs += 1000;
    body.push(new Uint8Array(1));
    expect(await codeOf(() => last)).toBe("LIMIT");
    expect(await codeOf(() => body.read())).toBe("LIMIT");
  });
});
