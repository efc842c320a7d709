/**
 * The program of a hashing thread: opens the root it is told, then hashes batches of paths, one after the other, and
 * answers each as a whole. The root must be the very directory that the main thread holds.
 */
import type { RelPath } from "#model/path.ts";
import { Confined } from "#platform/confined.ts";
import { openHost } from "#platform/host-bun.ts";
import { FileHasher, type Hashed } from "#sync/verify/hash-tree.ts";
import type { Problem } from "#model/observation.ts";

/** The first message: where the root is, and which directory that must be. */
export type RootOrder = { readonly path: string; readonly dev: number; readonly ino: bigint };
export type BatchOrder = { readonly paths: readonly RelPath[] };
/** To each batch in order; `failure` when the thread is of no use. */
export type BatchAnswer = { readonly sums: readonly (Hashed | Problem)[] } | { readonly failure: string };

declare const self: {
  onmessage: (event: { data: RootOrder | BatchOrder }) => void;
  postMessage: (answer: BatchAnswer) => void;
};

const never = new AbortController().signal;
let hasher: FileHasher | undefined;
let last: Promise<void> = Promise.resolve();

function open({ path, dev, ino }: RootOrder): FileHasher {
  const { fs } = openHost();
  const root = fs.openRoot(path);
  const stat = fs.fstat(root);
  if (stat.dev !== dev || stat.ino !== ino) throw new Error("another directory took the place of the root");
  return new FileHasher(new Confined(fs, root));
}

async function answer(order: RootOrder | BatchOrder): Promise<BatchAnswer | undefined> {
  if ("path" in order) {
    hasher = open(order);
    return undefined;
  }
  const sums: (Hashed | Problem)[] = [];
  for (const path of order.paths) {
    if (hasher === undefined) throw new Error("no root");
    sums.push(await hasher.hash(path, never));
  }
  return { sums };
}

self.onmessage = ({ data }) => {
  last = last.then(async () => {
    let given: BatchAnswer | undefined;
    try {
      given = await answer(data);
    } catch (error) {
      given = { failure: String(error) };
    }
    if (given !== undefined) self.postMessage(given);
  });
};
