import { expect, test } from "bun:test";
import { AccessWorld } from "#access/access-fixture.ts";
import { deleteBucket } from "#gateway/s3/ops-bucket.ts";
import type { S3Call } from "#gateway/s3/s3-call.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import { TestHub } from "#hub/hub-fixture.ts";
import { openHost } from "#platform/host-bun.ts";

test("[BUCKET-20] a bucket into which something is being put is not removed with it", async () => {
  await using world = await AccessWorld.open();
  await using lab = await TestHub.open(world.access);
  await lab.spaces.createSpace(lab.who, "brief");
  const services = { spaces: lab.spaces, access: world.access, random: openHost().random };
  const call = { services, who: lab.who, request: { bucket: "brief" } } as unknown as S3Call;
  const held = Promise.withResolvers<void>();
  const holding = lab.database.transaction(() => held.promise);
  const putting = lab.put("brief", "key", "text");
  // It waits for the database now, and nobody sees the key yet.
  await new Promise((resolve) => setImmediate(resolve));
  const removing = deleteBucket(call).catch((error: unknown) => error);
  await new Promise((resolve) => setImmediate(resolve));
  held.resolve();
  await Promise.all([holding, putting]);
  expect(await removing).toBeInstanceOf(S3Error);
  expect(((await removing) as S3Error).code).toBe("BucketNotEmpty");
  expect(await lab.files("brief")).toEqual({ key: "text" });
});
