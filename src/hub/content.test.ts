import { expect, test } from "bun:test";
import { StoredContent } from "#hub/content.ts";
import { chunkIdOf } from "#sync/chunk/chunk-id.ts";

test("[CONTENT-1] a chunk of another length than its manifest says is an error, never other bytes at its place", async () => {
  const [one, two] = [new Uint8Array(10).fill(1), new Uint8Array(10).fill(2)];
  const chunks = new Map([one, two].map((bytes) => [chunkIdOf(bytes), bytes]));
  const [first, second] = [...chunks.keys()];
  const read = async (...lengths: number[]): Promise<Uint8Array> => {
    const told = [first!, second!].map((id, at) => ({ id, length: lengths[at]! }));
    const content = new StoredContent(async (id) => chunks.get(id)!, told);
    const into = new Uint8Array(content.size).fill(9);
    await content.read(into, 0);
    return into;
  };
  expect(await read(10, 10)).toEqual(new Uint8Array([...one, ...two]));
  for (const lengths of [[11, 9], [9, 11], [10, 12]]) await expect(read(...lengths)).rejects.toThrow("has 10");
});
