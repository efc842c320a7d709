/** The calls about people, their credentials, roles and the audit log, typed. */
import type { AuditJson, AuditVerdictJson } from "#gateway/api/routes-audit.ts";
import type { GroupJson, UserJson } from "#gateway/api/routes-access.ts";
import type { S3KeyJson, SshKeyJson } from "#gateway/api/routes-keys.ts";
import type { DeviceJson } from "#gateway/api/routes-oidc.ts";
import type { RoleJson } from "#gateway/api/routes-roles.ts";
import type { SessionJson, SignedInJson } from "#gateway/api/routes-sessions.ts";
import { percentEncode } from "#gateway/api/url-path.ts";
import type { HubClient, WhoJson } from "#gateway/client/hub-client.ts";

export type UserChangeJson = {
  password?: string | null | undefined;
  roles?: readonly string[] | undefined;
  groups?: readonly string[] | undefined;
  oidc?: boolean | undefined;
  disabled?: boolean | undefined;
};

export type AuditQuery = {
  readonly actor?: string | undefined;
  readonly action?: string | undefined;
  readonly resource?: string | undefined;
  readonly outcome?: string | undefined;
  readonly traceId?: string | undefined;
  readonly from?: string | undefined;
  readonly until?: string | undefined;
};

const at = (...parts: readonly string[]): string => `/v1/${parts.map(percentEncode).join("/")}`;

export class AccessClient {
  readonly #hub: HubClient;

  constructor(hub: HubClient) {
    this.#hub = hub;
  }

  whoami(): Promise<WhoJson> {
    return this.#hub.whoami();
  }

  // Sessions

  signIn(user: string, password: string): Promise<SignedInJson> {
    return this.#hub.call(at("sessions"), { method: "POST", body: { user, password } });
  }

  ways(): Promise<{ oidc?: { issuer: string } }> {
    return this.#hub.call(at("sign-in"));
  }

  beginDevice(): Promise<DeviceJson> {
    return this.#hub.call(`${at("oidc")}/device`, { method: "POST" });
  }

  pollDevice(handle: string): Promise<SignedInJson | { waiting: true; slower: boolean }> {
    return this.#hub.call(`${at("oidc")}/device/poll`, { method: "POST", body: { handle } });
  }

  async signOut(): Promise<void> {
    await this.#hub.call(at("whoami", "session"), { method: "DELETE" });
  }

  async changeOwnPassword(old: string, next: string): Promise<void> {
    await this.#hub.call(at("whoami", "password"), { method: "POST", body: { old, new: next } });
  }

  sessions(user: string | undefined): AsyncGenerator<SessionJson> {
    return this.#hub.pages(user === undefined ? at("sessions") : at("users", user, "sessions"), "sessions", {});
  }

  async revokeSession(user: string, id: string): Promise<void> {
    await this.#hub.call(at("users", user, "sessions", id), { method: "DELETE" });
  }

  async revokeSessions(user: string): Promise<number> {
    return (await this.#hub.call<{ ended: number }>(at("users", user, "sessions"), { method: "DELETE" })).ended;
  }

  // Users and groups

  users(): AsyncGenerator<UserJson> {
    return this.#hub.pages(at("users"), "users", {});
  }

  user(name: string): Promise<UserJson> {
    return this.#hub.call(at("users", name));
  }

  createUser(name: string, user: UserChangeJson): Promise<UserJson> {
    return this.#hub.call(at("users"), { method: "POST", body: { name, ...user } });
  }

  updateUser(name: string, change: UserChangeJson): Promise<UserJson> {
    return this.#hub.call(at("users", name), { method: "PATCH", body: change });
  }

  async deleteUser(name: string): Promise<void> {
    await this.#hub.call(at("users", name), { method: "DELETE" });
  }

  groups(): AsyncGenerator<GroupJson> {
    return this.#hub.pages(at("groups"), "groups", {});
  }

  group(name: string): Promise<GroupJson> {
    return this.#hub.call(at("groups", name));
  }

  members(name: string): AsyncGenerator<string> {
    return this.#hub.pages(at("groups", name, "members"), "members", {});
  }

  async createGroup(name: string, roles: readonly string[]): Promise<void> {
    await this.#hub.call(at("groups"), { method: "POST", body: { name, roles } });
  }

  async updateGroup(name: string, roles: readonly string[]): Promise<void> {
    await this.#hub.call(at("groups", name), { method: "PATCH", body: { roles } });
  }

  async deleteGroup(name: string): Promise<void> {
    await this.#hub.call(at("groups", name), { method: "DELETE" });
  }

  async setMember(group: string, user: string, isMember: boolean): Promise<void> {
    await this.#hub.call(at("groups", group, "members", user), { method: isMember ? "PUT" : "DELETE" });
  }

  // Roles

  async roles(): Promise<RoleJson[]> {
    return (await this.#hub.call<{ roles: RoleJson[] }>(at("roles"))).roles;
  }

  role(name: string): Promise<RoleJson> {
    return this.#hub.call(at("roles", name));
  }

  putRole(name: string, role: Pick<RoleJson, "includes"> & { rules: readonly unknown[] }): Promise<RoleJson> {
    return this.#hub.call(at("roles", name), { method: "PUT", body: role });
  }

  async deleteRole(name: string): Promise<void> {
    await this.#hub.call(at("roles", name), { method: "DELETE" });
  }

  // Keys

  s3Keys(user: string): AsyncGenerator<S3KeyJson> {
    return this.#hub.pages(at("users", user, "s3-keys"), "s3Keys", {});
  }

  createS3Key(user: string, scopes?: readonly unknown[]): Promise<{ accessKey: string; secretKey: string }> {
    return this.#hub.call(at("users", user, "s3-keys"), { method: "POST", body: { scopes } });
  }

  async revokeS3Key(user: string, accessKey: string): Promise<void> {
    await this.#hub.call(at("users", user, "s3-keys", accessKey), { method: "DELETE" });
  }

  async sshKeys(user: string): Promise<SshKeyJson[]> {
    return (await this.#hub.call<{ sshKeys: SshKeyJson[] }>(at("users", user, "ssh-keys"))).sshKeys;
  }

  addSshKey(user: string, key: string): Promise<{ fingerprint: string }> {
    return this.#hub.call(at("users", user, "ssh-keys"), { method: "POST", body: { key } });
  }

  async removeSshKey(user: string, fingerprint: string): Promise<void> {
    await this.#hub.call(at("users", user, "ssh-keys", fingerprint), { method: "DELETE" });
  }

  // Hosts

  async setLabels(host: string, labels: readonly string[]): Promise<void> {
    await this.#hub.call(at("hosts", host), { method: "PATCH", body: { labels } });
  }

  async removeHost(host: string): Promise<void> {
    await this.#hub.call(at("hosts", host), { method: "DELETE" });
  }

  async revokeHost(host: string): Promise<void> {
    await this.#hub.call(at("hosts", host, "certificates"), { method: "DELETE" });
  }

  // Audit

  /** Newest first, `limit` at most. */
  async *audit(filter: AuditQuery, limit: number): AsyncGenerator<AuditJson> {
    let before: number | undefined;
    for (let left = limit; left > 0; ) {
      const query = { ...filter, before, limit: Math.min(left, 1000) };
      const page = await this.#hub.call<{ records: AuditJson[]; nextBefore?: number }>(at("audit"), { query });
      yield* page.records;
      left -= page.records.length;
      before = page.nextBefore;
      if (before === undefined) return;
    }
  }

  /** Pieces of NDJSON as the hub gives them. */
  exportAudit(after: number): AsyncGenerator<Uint8Array> {
    return this.#hub.bytes(at("audit.ndjson"), { query: { after } });
  }

  acceptAudit(reason: string): Promise<AuditVerdictJson> {
    return this.#hub.call(at("audit", "accept"), { method: "POST", body: { reason } });
  }

  verifyAudit(noted: { readonly seq: number; readonly hash: string } | undefined): Promise<AuditVerdictJson> {
    return this.#hub.call(at("audit", "verify"), { query: noted ?? {} });
  }
}
