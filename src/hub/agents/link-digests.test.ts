import { expect, test } from "bun:test";
import type { LinkState } from "#hub/agents/control.ts";
import { LINK_SETTINGS } from "#hub/agents/link.ts";
import { LinkDigests } from "#hub/agents/link-digests.ts";
import type { Link } from "#hub/agents/registry-rows.ts";
import { MemoryEndpoint } from "#testing/memory-endpoint.ts";

class Digesting extends MemoryEndpoint {
  async digestSince(): Promise<string> {
    return "as it is";
  }
}

const linkOf = (id: string): Link => ({
  id, host: "web1", selector: undefined, root: `/${id}`, space: "demo", prefix: "", settings: LINK_SETTINGS.parse({}), enabled: true,
  generation: 1, origin: "hub", createdMs: 0,
});
const stateOf = (id: string): LinkState => ({
  id, generation: 1, phase: "watching", sequence: 7, stored: null, backlog: 0, lagMs: 0, files: 3, conflicts: 0, problems: 0, changes: 2,
  syncedAgoMs: 10, digest: "as it is", holdHash: null, error: null, pause: null, releases: null, projects: [],
});

test("[AGENT-114] of the digests of a host's links only those of links that it has are kept", async () => {
  const digests = new LinkDigests(() => undefined);
  const [one, two] = [linkOf("one"), linkOf("two")];
  for (const { id } of [one, two]) digests.opened("web1", id, new Digesting());
  digests.heard("web1", [one, two], [stateOf("one"), stateOf("two")]);
  await digests.idle();
  const known = (): (string | undefined)[] => ["one", "two"].map((id) => digests.at("web1", id, 7));
  expect(known()).toEqual(["as it is", "as it is"]);
  digests.heard("web1", [two], [stateOf("two")]);
  expect(known()).toEqual([undefined, "as it is"]);
  digests.heard("web2", [], []);
  expect(known()).toEqual([undefined, "as it is"]);
  digests.forget("web1");
  expect(known()).toEqual([undefined, undefined]);
});
