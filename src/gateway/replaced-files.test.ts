/** What stays of a file when a door brings new bytes for it, and who is told of it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { systemPrincipal } from "#access/access.ts";
import type { Attributes } from "#hub/attributes.ts";
import type { FileEntry } from "#model/entry.ts";
import { RightsLab, targetOf } from "#gateway/rights-fixture.ts";
import { OPERATIONS } from "#gateway/rights-operations.ts";

const SYSTEM = systemPrincipal("test");
const TRACE = "0".repeat(32);
/** All that put a whole file in the place of one that is there. */
const NAMES = ["overwrite", "sign to write", "upload in parts", "tus whole", "dav PUT", "PutObject", "STOR over", "sftp write over", "Upload over"];
const WRITES = OPERATIONS.filter(({ name }) => NAMES.includes(name));
const CASES = WRITES.map(({ name }, index) => ({ name, index }));
const KEPT = 0o1613;
const MODE = 0o6000 | KEPT;
const SECRET = "of-the-one-who-put-it";

describe("a file that is there", () => {
  let lab: RightsLab;
  beforeAll(async () => {
    lab = await RightsLab.open(WRITES);
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  const fileAt = async (path: string) => (await lab.api.hub.spaces.version(SYSTEM, "demo", path))!;

  /** Other permissions, and attributes, of the same bytes. */
  async function mark(path: string, attributes: Attributes): Promise<void> {
    const { spaces } = lab.api.hub;
    const { entry, content } = await fileAt(path);
    await using intake = spaces.intake(SYSTEM, "demo");
    await intake.hold(content!);
    const changed = { ...(entry as FileEntry), mode: MODE };
    const change = { type: "put", path, expect: { kind: "any" }, entry: changed, content, attributes, makeParents: false } as const;
    await spaces.commit(SYSTEM, "demo", { changes: [change], intake, atomic: true, cause: "edit", traceId: TRACE });
  }

  test.each(CASES)("[RIGHTS-6] keeps its permissions but for set-id bits, also those that it gets while it is replaced: $name", async ({ index }) => {
    const { spaces } = lab.api.hub;
    const at = targetOf(index, "full", "a");
    const commit = spaces.commit.bind(spaces);
    // At the last moment: whatever the door looks at, it has seen.
    spaces.commit = async (...asked) => {
      spaces.commit = commit;
      await mark(at.file, {});
      return commit(...asked);
    };
    const { kind, told } = await WRITES[index]!.run(lab.person("full"), at);
    expect([kind, kind === "done" ? "" : told]).toEqual(["done", ""]);
    expect((await fileAt(at.file)).entry).toMatchObject({ size: 3, mode: KEPT });
  });

  test.each(CASES)("[RIGHTS-7] keeps them also where who writes may not read, who is told nothing of it: $name", async ({ index }) => {
    const at = targetOf(index, "dropper", "a");
    await mark(at.file, { "user.secret": SECRET });
    const { kind, told } = await WRITES[index]!.run(lab.person("dropper"), at);
    expect([kind, ['"1613"', `"mode":${KEPT}`, SECRET].filter((word) => told.includes(word))]).toEqual(["done", []]);
    expect((await fileAt(at.file)).entry).toMatchObject({ size: 3, mode: KEPT });
  });
});
