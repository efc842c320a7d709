/** Brings the items of a bootstrap file about, each by the room that knows it; the second time finds them the same. */
import { systemPrincipal } from "#access/access.ts";
import type { HubAccess } from "#access/hub-access.ts";
import { readSshKey } from "#access/ssh-keys.ts";
import type { Applied, Bootstrap, BootstrapTarget } from "#config/bootstrap.ts";
import type { HubAgents } from "#hub/agents/hub-agents.ts";
import { NEW_LINK, type NewLink, checked, trimRoot } from "#hub/agents/link.ts";
import type { SpaceService } from "#hub/space-service.ts";
import { SETTINGS_DEFAULT, type SpaceSettings } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";

const WHO = systemPrincipal("bootstrap");
/** Rows of one page when everything is looked through. */
const PAGE_ROWS = 1000;

type Item<K extends keyof Bootstrap> = Bootstrap[K][number];

export function bootstrapTarget(access: HubAccess, spaces: SpaceService, agents: HubAgents): BootstrapTarget {
  return {
    spaces: (item) => applySpace(spaces, item),
    // The book of roles is made from the whole file before anything is decided.
    roles: () => Promise.resolve("same"),
    groups: (item) => applyGroup(access, item),
    users: (item) => applyUser(access, item),
    tokens: (item) => applyToken(access, item),
    s3Keys: (item) => applyS3Key(access, item),
    sshKeys: (item) => applySshKey(access, item),
    joinTokens: (item) => applyJoinToken(access, item),
    links: (item) => applyLink(agents, item),
  };
}

/** As the hub takes a new link; what the file says beside where it leads are its settings. */
function newLinkOf({ host, label, root, space, prefix, enabled, ...settings }: Item<"links">): unknown {
  return { host, selector: label, root, space, prefix, enabled, settings };
}

/** @throws {SynclineError} USAGE for a link of the file that none can be */
export function checkLinks({ links }: Pick<Bootstrap, "links">): void {
  for (const link of links) checked(NEW_LINK, newLinkOf(link), "link of the bootstrap file");
}

/** A link is known by whom it is for and its root, which is kept without a slash at its end. */
async function applyLink(agents: HubAgents, item: Item<"links">): Promise<Applied> {
  const wanted = checked(NEW_LINK, newLinkOf(item), "link of the bootstrap file");
  const { host, selector, root, space, prefix, settings, enabled } = wanted;
  const known = agents
    .definitions(WHO)
    .find((link) => link.host === host && link.selector === selector && link.root === trimRoot(root));
  if (known === undefined) {
    await agents.createLink(WHO, wanted);
    return "made";
  }
  const shape = (link: Pick<NewLink, "space" | "prefix" | "settings" | "enabled">): string =>
    JSON.stringify([link.space, link.prefix, link.enabled, Object.entries(link.settings).toSorted()]);
  if (shape(known) === shape(wanted)) return "same";
  await agents.updateLink(WHO, known.id, { space, prefix, settings, enabled });
  return "changed";
}

const sameList = (a: readonly string[], b: readonly string[]): boolean =>
  JSON.stringify([...a].sort()) === JSON.stringify([...b].sort());

async function applySpace(spaces: SpaceService, item: Item<"spaces">): Promise<Applied> {
  const known = (await spaces.spaces(WHO)).find(({ name }) => name === item.name);
  const now = known?.settings ?? SETTINGS_DEFAULT;
  const settings: SpaceSettings = {
    quotaBytes: item.quotaBytes ?? now.quotaBytes,
    quotaEntries: item.quotaEntries ?? now.quotaEntries,
    retention: {
      versions: item.retention?.versions ?? now.retention.versions,
      ageMs: item.retention?.age ?? now.retention.ageMs,
    },
    ignore: item.ignore ?? now.ignore,
  };
  if (known === undefined) {
    await spaces.createSpace(WHO, item.name, settings);
    return "made";
  }
  if (JSON.stringify(settings) === JSON.stringify({ ...SETTINGS_DEFAULT, ...now })) return "same";
  await spaces.updateSpace(WHO, item.name, { settings });
  return "changed";
}

async function applyGroup(access: HubAccess, item: Item<"groups">): Promise<Applied> {
  const known = await findGroup(access, item.name);
  if (known === undefined) {
    await access.users.createGroup(WHO, item.name, item.roles);
    return "made";
  }
  if (sameList(known, item.roles)) return "same";
  await access.users.updateGroup(WHO, item.name, item.roles);
  return "changed";
}

async function findGroup(access: HubAccess, name: string): Promise<readonly string[] | undefined> {
  for (let after = ""; ; ) {
    const page = await access.users.groups(after, PAGE_ROWS);
    const found = page.find((group) => group.name === name);
    if (found !== undefined || page.length < PAGE_ROWS) return found?.roles;
    after = page.at(-1)!.name;
  }
}

/** The password of the file is the first one: what its user has changed since is not taken back at the next start. */
async function applyUser(access: HubAccess, item: Item<"users">): Promise<Applied> {
  const known = await access.users.get(item.name);
  const { password, roles, groups, oidc } = item;
  if (known === undefined) {
    await access.users.create(WHO, item.name, { password, roles, groups, oidc });
    return "made";
  }
  const newRoles = roles !== undefined && !sameList(roles, known.roles) ? roles : undefined;
  const newGroups = groups !== undefined && !sameList(groups, known.groups) ? groups : undefined;
  const firstPassword = known.hasPassword ? undefined : password;
  // Tied is what invited comes to.
  const newOidc = oidc !== undefined && oidc !== (known.oidc !== "none") ? oidc : undefined;
  const change = { roles: newRoles, groups: newGroups, password: firstPassword, oidc: newOidc };
  if (Object.values(change).every((value) => value === undefined)) return "same";
  await access.users.update(WHO, item.name, change);
  return "changed";
}

async function applyToken(access: HubAccess, item: Item<"tokens">): Promise<Applied> {
  const known = await access.tokens.byValue(item.value);
  if (known !== undefined && known.user !== item.user) throw taken(`a token of ${item.user} has the value of one of ${known.user}`);
  if (known !== undefined && JSON.stringify(known.scopes) === JSON.stringify(item.scopes)) return "same";
  const name = item.name ?? known?.name ?? `bootstrap-${Bun.SHA256.hash(item.value, "hex").slice(0, 12)}`;
  if (known !== undefined) await access.tokens.revoke(WHO, known.id);
  await access.tokens.create(WHO, { user: item.user, name, value: item.value, scopes: item.scopes });
  return known === undefined ? "made" : "changed";
}

async function applyS3Key(access: HubAccess, item: Item<"s3Keys">): Promise<Applied> {
  const known = await access.s3Keys.compare(item);
  if (known === undefined) {
    await access.s3Keys.create(WHO, item.user, item);
    return "made";
  }
  if (known.user !== item.user) throw taken(`the access key ${item.accessKey} is one of ${known.user}`);
  if (known.isSame) return "same";
  await access.s3Keys.revoke(WHO, item.accessKey);
  await access.s3Keys.create(WHO, item.user, item);
  return "changed";
}

async function applySshKey(access: HubAccess, item: Item<"sshKeys">): Promise<Applied> {
  const key = readSshKey(item.key);
  const known = await access.sshKeys.list(item.user);
  if (typeof key !== "string" && known.some(({ fingerprint }) => fingerprint === key.fingerprint)) return "same";
  await access.sshKeys.create(WHO, item.user, item.key);
  return "made";
}

async function applyJoinToken(access: HubAccess, item: Item<"joinTokens">): Promise<Applied> {
  if ((await access.joinTokens.byValue(item.value)) !== undefined) return "same";
  const { value, labels, uses } = item;
  await access.joinTokens.create(WHO, {
    value,
    ...(labels === undefined ? {} : { labels }),
    ...(uses === undefined ? {} : { uses }),
  });
  return "made";
}

const taken = (message: string): SynclineError =>
  new SynclineError({ code: "EXISTS", op: "apply bootstrap file", message, hint: "correct the bootstrap file" });
