import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { ApiLab } from "#gateway/api/api-fixture.ts";

type Answer = { attributes?: Record<string, string> };

let lab: ApiLab;
beforeAll(async () => {
  lab = await ApiLab.open();
});
afterAll(() => lab[Symbol.asyncDispose]());

const put = (headers: Record<string, string>, path = "a"): Promise<Response> =>
  lab.ask(`/v1/spaces/demo/content/${path}`, { method: "PUT", body: "text", headers });

const attributesAfter = async (headers: Record<string, string>): Promise<Answer["attributes"]> =>
  ((await (await put(headers)).json()) as Answer).attributes;

describe("what a PUT says of a file", () => {
  test("[ATTR-8] is kept with it: the media type, and metadata that are said as a whole", async () => {
    const said = { "x-syncline-media-type": "image/x-own", "x-syncline-meta-camera": "a%20%C3%BC%25", "x-syncline-meta-lens": "50" };
    const all = { "http.content-type": "image/x-own", "user.camera": "a ü%", "user.lens": "50" };
    expect(await attributesAfter(said)).toEqual(all);
    const got = await lab.ask("/v1/spaces/demo/content/a");
    expect(got.headers.get("content-type")).toBe("image/x-own");
    expect(await attributesAfter({})).toEqual(all);
    expect(await attributesAfter({ "x-syncline-meta-lens": "35" })).toEqual({ "http.content-type": "image/x-own", "user.lens": "35" });
    expect(await attributesAfter({ "x-syncline-media-type": "text/x" })).toEqual({ "http.content-type": "text/x", "user.lens": "35" });
  });

  test("[ATTR-9] keeps of what is there what that is when all bytes have come", async () => {
    await put({ "x-syncline-meta-lens": "50" }, "slow");
    const [begun, end] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const body = new ReadableStream<Uint8Array>({
      async pull(stream) {
        stream.enqueue(Buffer.from("new"));
        begun.resolve();
        await end.promise;
        stream.close();
      },
    });
    const putting = lab.ask("/v1/spaces/demo/content/slow", { method: "PUT", body, headers: { "x-syncline-media-type": "text/x" } });
    await begun.promise;
    await Bun.sleep(50);
    await put({ "x-syncline-meta-lens": "35", "x-syncline-mode": "0755" }, "slow");
    end.resolve();
    const { attributes, mode } = (await (await putting).json()) as Answer & { mode: string };
    expect([attributes, mode]).toEqual([{ "user.lens": "35", "http.content-type": "text/x" }, "0755"]);
  });

  test("[ATTR-10] keeps what somebody else says of the file in the moment in which it is replaced", async () => {
    const { spaces } = lab.hub;
    const headers = { "x-syncline-media-type": "text/x" };
    for (const more of [{}, { "if-match": "*" }] as Record<string, string>[]) {
      await put({ "x-syncline-meta-lens": "50" }, "raced");
      const commit = spaces.commit.bind(spaces);
      spaces.commit = async (...asked) => {
        spaces.commit = commit;
        await put({ "x-syncline-meta-lens": "35" }, "raced");
        return commit(...asked);
      };
      const { attributes } = (await (await put({ ...headers, ...more }, "raced")).json()) as Answer;
      expect(attributes).toEqual({ "user.lens": "35", "http.content-type": "text/x" });
    }
    // Nor does it make one that has gone meanwhile, where one has to be there.
    const commit = spaces.commit.bind(spaces);
    spaces.commit = async (...asked) => {
      spaces.commit = commit;
      await lab.ask("/v1/spaces/demo/content/raced", { method: "DELETE" });
      return commit(...asked);
    };
    expect((await put({ ...headers, "if-match": "*" }, "raced")).status).toBe(412);
    expect((await lab.ask("/v1/spaces/demo/content/raced")).status).toBe(404);
  });

  test("[ATTR-8] is refused when it is too much, or no text, and nothing is written", async () => {
    for (const [name, value] of [["x".repeat(600), "x"], ["a", "%zz"], ["a", "%ff"]] as const) {
      expect([value, (await put({ [`x-syncline-meta-${name}`]: value }, "b")).status]).toEqual([value, 400]);
    }
    expect((await lab.ask("/v1/spaces/demo/content/b")).status).toBe(404);
  });
});
