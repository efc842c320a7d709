/** The part of a hub that agents speak to, put together: registry, listener, and what doors see of both. */
import { createHash } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { HubAccess } from "#access/hub-access.ts";
import type { HubConfig } from "#config/hub-config.ts";
import type { ApiLog } from "#gateway/api/route.ts";
import { CarriedApprovals } from "#hub/agents/carried-approvals.ts";
import { HubAgents } from "#hub/agents/hub-agents.ts";
import type { DeclaredLink } from "#hub/agents/link.ts";
import { AgentListener } from "#hub/agents/listener.ts";
import type { AgentRegistry } from "#hub/agents/registry.ts";
import type { Link } from "#hub/agents/registry-rows.ts";
import { ComingFiles } from "#hub/endpoint/coming-files.ts";
import { SpaceEndpoint, type SpaceTraces } from "#hub/endpoint/space-endpoint.ts";
import { ViewDigests } from "#hub/endpoint/view-digest.ts";
import type { HubSpaces } from "#hub/hub-spaces.ts";
import type { Host } from "#platform/host.ts";
import type { Database } from "#platform/sql/database.ts";
import type { Identity } from "#platform/net/tls-socket.ts";
import { type Principal, systemPrincipal } from "#access/access.ts";
import { VERSION } from "#cli/version.ts";

const HASH_DIGITS = 32;

export type HubAgentsParts = {
  readonly host: Host;
  readonly dataDir: string;
  /** The one in force. */
  readonly config: () => HubConfig;
  readonly hubId: string;
  readonly access: HubAccess;
  readonly spaces: HubSpaces;
  readonly registry: AgentRegistry;
  readonly database: Database;
  /** Of the hub's authority, valid for HUB_TLS_NAME. */
  readonly identity: Identity;
  readonly listen: { readonly host: string; readonly port: number };
  readonly log: ApiLog;
  readonly traces: SpaceTraces;
};

export type RunningAgents = { readonly agents: HubAgents; readonly listener: AgentListener };

/** @throws the system's error when the address cannot be listened on */
export async function startAgents(parts: HubAgentsParts): Promise<RunningAgents> {
  const { access, registry, host, database: db, spaces } = parts;
  // Also what was renamed at the last moment of the hub's last life.
  await registry.spacesAre(await spaces.spaces(systemPrincipal("agents")));
  spaces.onRename((space) => registry.spacesAre([space]));
  const carried = await CarriedApprovals.open({ db, registry, spaces, access, clock: host.clock });
  const listener = startListener(parts, carried);
  const agents = await HubAgents.open({
    registry,
    listener,
    carried,
    access,
    clock: host.clock,
    removeIdentity: (by, name) => access.hosts.remove(by, name),
    revokeIdentity: (by, name) => access.hosts.revoke(by, name),
    setLabels: (by, name, labels) => access.hosts.setLabels(by, name, labels),
  });
  return { agents, listener };
}

function startListener(parts: HubAgentsParts, carried: CarriedApprovals): AgentListener {
  const { access, spaces, registry, host, identity, listen, hubId, log, config, dataDir, traces } = parts;
  const stageFolder = join(dataDir, "stage");
  mkdirSync(stageFolder, { recursive: true, mode: 0o700 });
  const digests = new ViewDigests();
  const coming = new ComingFiles();
  const openSpace = (who: Principal, { space, prefix }: Link, readOnly: boolean): SpaceEndpoint => {
    const label = prefix === "" ? space : `${space}:${prefix}`;
    return new SpaceEndpoint({ spaces, who, readOnly, host, space, prefix, hubId, label, stageFolder, hash, digests, coming, traces });
  };
  return new AgentListener({
    listen,
    identity,
    hubId,
    authority: {
      ca: access.authority.certificate,
      enrol: (token, request, from) => access.enrol(token, request, from),
      renew: (old, request, from) => access.hosts.renew(old, request, from),
      labelsOf: async (name) => (await access.hosts.get(name))?.labels,
    },
    access,
    registry,
    carried,
    mayDeclare: (_host, link) => mayDeclare(config(), link),
    resolveSpace: async (who, link) => {
      const { id, seeds, settings } = await spaces.space(who, link.space);
      return { id, seeds, ignore: settings.ignore };
    },
    openSpace,
    stageFolder,
    onAccessChange: (changed, signal) => access.onChange(changed, signal),
    host,
    program: `syncline ${VERSION}`,
    log: (message, fields) => log.info(message, fields),
  });
}

/** May a host link its own directories to this space, without anybody at the hub having said so? */
function mayDeclare({ hostLinks }: HubConfig, { space }: DeclaredLink): boolean {
  const allowed = hostLinks ?? ["all"];
  return allowed.includes("all") || allowed.includes(space);
}

function hash(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, HASH_DIGITS);
}
