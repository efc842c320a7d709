/**
 * What a copy has and its source has never had is kept before the source's versions take its place: in a space beside it,
 * in a directory named after the sequence of the comparison.
 */
import { systemPrincipal } from "#access/access.ts";
import type { PathDifference } from "#hub/followers/compare.ts";
import type { HubSpaces } from "#hub/hub-spaces.ts";
import type { MetaStore } from "#hub/meta/meta-store.ts";
import { type JournalRecord, SETTINGS_DEFAULT, type Space, type SpaceChange, type Version } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";
import { joinPath } from "#model/path.ts";

const WHO = systemPrincipal("followers");
const NO_TRACE = "0".repeat(32);
/** Of a name of 63. */
const NAME_CHARS = 50;
/** Spaces of one name that are tried. */
const NAMES_MAX = 99;

export const asideName = (name: string): string => `${name.slice(0, NAME_CHARS).replace(/[.-]+$/, "")}.diverged`;

/** @returns how many entries were kept; what cannot be read any more is not */
export async function keepAside(
  { spaces, meta }: { readonly spaces: HubSpaces; readonly meta: MetaStore },
  space: Space,
  differences: readonly PathDifference[],
  records: readonly JournalRecord[],
): Promise<number> {
  const known = new Set(records.map((one) => `${one.path}\0${one.content?.id ?? one.entry?.kind}`));
  const own: Version[] = [];
  for (const { path, here } of differences) {
    if (here === undefined) continue;
    const version = await wholeVersion(meta, space, path);
    const isTheirs = version === undefined || known.has(`${path}\0${version.content?.id ?? version.entry?.kind}`);
    if (!isTheirs && version.entry !== undefined) own.push(version);
  }
  if (own.length === 0) return 0;
  const aside = await openAside(spaces, space);
  await using intake = spaces.intake(WHO, aside);
  const changes: SpaceChange[] = [];
  for (const { path, entry, content, attributes } of own) {
    if (content !== undefined && !(await intake.hold(content))) continue;
    const to = joinPath(String(space.sequence), path);
    const expect = { kind: "any" } as const;
    changes.push({ type: "put", path: to, expect, entry: entry!, content, attributes, makeParents: true });
  }
  const message = `differed from the source of ${space.name} at ${space.sequence}`;
  const request = { changes, intake, atomic: false, cause: "repair", traceId: NO_TRACE, message } as const;
  const { results } = await spaces.commit(WHO, aside, request);
  return results.filter(({ status }) => status === "done").length;
}

async function wholeVersion(meta: MetaStore, { id, sequence }: Space, path: string): Promise<Version | undefined> {
  try {
    return await meta.versionAt(id, path, { sequence });
  } catch (error) {
    if (error instanceof SynclineError && error.code === "STATE") return undefined;
    throw error;
  }
}

/**
 * Files name their content by the seeds of their space, so it has the same: another one of that name is not it. A deleted
 * space keeps its name for a while.
 */
async function openAside(spaces: HubSpaces, { name, seeds }: Space): Promise<string> {
  const there = await spaces.spaces(WHO);
  for (let at = 1; at <= NAMES_MAX; at++) {
    const aside = at === 1 ? asideName(name) : `${asideName(name)}-${at}`;
    const known = there.find((one) => one.name === aside);
    if (known !== undefined && known.follows === undefined && Buffer.from(known.seeds).equals(seeds)) return aside;
    if (spaces.idOf(aside) !== undefined) continue;
    await spaces.adoptSpace(WHO, aside, { settings: SETTINGS_DEFAULT, seeds, lineage: undefined }, () => Promise.resolve());
    return aside;
  }
  const message = `all names for a space to keep aside what differs are taken: "${asideName(name)}" up to "-${NAMES_MAX}"`;
  throw new SynclineError({ code: "LIMIT", op: "follow", message, hint: "give those that are needed other names, and delete the others" });
}
