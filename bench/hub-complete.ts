/** The end of an upload in very many parts: from the request to the answer that the file is there, durably. */
import { join } from "node:path";
import { proofHead } from "#hub/uploads/upload.ts";
import { RandomBytes } from "./lib/data.ts";
import { BenchHub } from "./lib/hub.ts";
import { type Workload, WrongResult, scaled } from "./lib/workload.ts";

const PARTS = 10_000;
/** Each part is one of these: the hub has their bytes once, and the uploads are put together by proofs. */
const DISTINCT = 16;
const PART_BYTES = 5 << 20;
const AT_ONCE = 500;
const SEED = 22;

type Challenge = { nonce: string; parts: { number: number; start: number; length: number }[] };

export const hubComplete: Workload = {
  name: "hub-complete",
  title: "hub: complete an upload of 10,000 parts of 5 MiB (50 GiB, 50,000 chunks), over HTTPS",
  runs: 3,
  needs: [],
  rows: [{
    id: "hub-complete/time", measure: "time", unit: "ms", statistic: "median", peer: undefined,
    bar: { of: "figure", max: 300 },
  }],
  async measure(context, runs) {
    const random = new RandomBytes(SEED);
    const distinct = Array.from({ length: DISTINCT }, () => new Uint8Array(random.next(PART_BYTES)));
    const sums = distinct.map((bytes) => new Bun.CryptoHasher("sha256").update(bytes).digest("hex"));
    await using hub = await BenchHub.start(join(context.dir, "hub-complete"));
    const known = await hub.post<{ id: string }>("uploads", { path: "known.bin" });
    for (const [at, body] of distinct.entries()) await hub.ask(`uploads/${known.id}/parts/${at + 1}`, { method: "PUT", body });
    await hub.post(`uploads/${known.id}/complete`, {});
    const count = scaled(context, PARTS);
    const ours: number[] = [];
    for (let run = 1; run <= runs; run++) {
      const { id } = await hub.post<{ id: string }>("uploads", { path: `large-${run}.bin`, size: count * PART_BYTES });
      for (let from = 1; from <= count; from += AT_ONCE) {
        const length = Math.min(AT_ONCE, count + 1 - from);
        const parts = Array.from({ length }, (_, at) => print(from + at, sums));
        const { nonce, parts: asked } = await hub.post<Challenge>(`uploads/${id}/offer`, { parts });
        const proofs = asked.map((one) => ({ number: one.number, mac: macOf(one, nonce, sums, distinct) }));
        const taken = await hub.post<{ parts: number[] }>(`uploads/${id}/prove`, { nonce, proofs });
        if (taken.parts.length !== length) throw new WrongResult(`${taken.parts.length} of ${length} parts were taken over`);
      }
      const began = Bun.nanoseconds();
      const { size } = await hub.post<{ size: number }>(`uploads/${id}/complete`, {});
      ours.push((Bun.nanoseconds() - began) / 1e6);
      if (size !== count * PART_BYTES) throw new WrongResult(`the file has ${size} bytes`);
      context.say(`  ${run}. ${ours.at(-1)!.toFixed(0)} ms`);
    }
    return [{ id: "hub-complete/time", ours }];
  },
};

const print = (number: number, sums: readonly string[]) => ({ number, size: PART_BYTES, sha256: sums[number % DISTINCT]! });

function macOf(
  { number, start, length }: Challenge["parts"][number],
  nonce: string,
  sums: readonly string[],
  distinct: readonly Uint8Array[],
): string {
  const hmac = new Bun.CryptoHasher("sha256", Buffer.from(nonce, "hex")).update(proofHead(print(number, sums), start));
  return hmac.update(distinct[number % DISTINCT]!.subarray(start, start + length)).digest("hex");
}
