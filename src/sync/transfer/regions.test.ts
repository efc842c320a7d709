/** Narrowing on its own, with more open gaps than a test can have a file for. */
import { expect, test } from "bun:test";
import { Compressor } from "#sync/chunk/compress.ts";
import { FileOutput } from "#sync/transfer/file-output.ts";
import { REGIONS_PER_ASK, REGIONS_WAITING_MAX, REGION_BYTES_MAX } from "#sync/transfer/limits.ts";
import { Line } from "#sync/transfer/line.ts";
import { ASK, HASH_BYTES, type Region, SUMS, readAsk, startMessage } from "#sync/transfer/messages.ts";
import { Regions } from "#sync/transfer/regions.ts";
import { Fixture, SEEDS, host, noise } from "#sync/transfer/transfer-fixture.ts";
import { memoryChannelPair } from "#sync/transport/memory-channel.ts";
import { ByteReader } from "#sync/wire/bytes.ts";

/** Hashes that fit nothing, as many as were asked for. */
function answerTo(regions: readonly Region[]): Uint8Array {
  const writer = startMessage(SUMS, 1);
  writer.varint(regions.length);
  for (const { length, sliceBytes } of regions) {
    writer.varint(Math.ceil(length / sliceBytes));
    writer.raw(new Uint8Array(Math.ceil(length / sliceBytes) * HASH_BYTES));
  }
  return writer.finish();
}

/** Long enough for coarse questions; a longer one only costs more to compare. */
const GAP_BYTES = 32 << 10;

test("[XFER-15] a thousand gaps that share nothing with the base are asked about in messages that can be answered", async () => {
  using fixture = new Fixture();
  const { fs } = host;
  fixture.write("source", "f", noise(GAP_BYTES, 1));
  const source = fixture.sourceRoot.openRead("f");
  const [near, far] = memoryChannelPair();
  const line = new Line(near, () => undefined, new Compressor("none", () => 0), SEEDS);
  const output = new FileOutput(line, 1);
  const regions = new Regions(fs, line, 1);
  regions.begin(source);
  let asked = 0;
  const answering = (async (): Promise<void> => {
    for (let message = await far.receive(); message !== undefined; message = await far.receive()) {
      if (message[0] !== ASK) continue;
      const reader = new ByteReader(message.subarray(2));
      const wanted = readAsk(reader, REGION_BYTES_MAX);
      asked += wanted.length;
      await far.send(answerTo(wanted));
    }
    far.end();
  })();
  answering.catch((error: Error) => far.fail(error));
  const hearing = (async (): Promise<void> => {
    for (let message = await near.receive(); message !== undefined; message = await near.receive()) {
      regions.receive(new ByteReader(message.subarray(2)));
    }
  })();
  hearing.catch((error: Error) => regions.fail(error));
  // As many coarse questions as may wait, and then so many that answers to some have become fine questions.
  const count = REGIONS_WAITING_MAX + 2 * REGIONS_PER_ASK;
  for (let at = 0; at < count; at++) await regions.add(0, GAP_BYTES, 0, REGION_BYTES_MAX, output);
  near.end();
  await Promise.all([answering, hearing]);
  expect(asked).toBeGreaterThan(count);
  fs.close(source);
});
