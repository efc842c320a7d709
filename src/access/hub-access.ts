/**
 * Access as the hub has it: who exists is in the database, what roles allow in a book that can be replaced while it
 * runs, what an agent may touch follows its host's links, and policies are in the settings of their spaces.
 */
import { createHmac } from "node:crypto";
import { SynclineError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import type { Clock, Random } from "#platform/host.ts";
import type { Database } from "#platform/sql/database.ts";
import { migrate } from "#platform/sql/migrate.ts";
import type { Access, Action, Credential, Decision, Principal, Resource, Rule } from "#access/access.ts";
import { AccessStore, REMEMBERED_MAX, USER_NAME, notFound, refused } from "#access/access-store.ts";
import { type Actor, Audit } from "#access/audit.ts";
import { Authority } from "#access/authority.ts";
import { type RoleBook, decide, reaches } from "#access/decide.ts";
import { type CertificateRequest, type Enrolment, Hosts } from "#access/hosts.ts";
import { JoinTokens } from "#access/join-tokens.ts";
import { Oidc, type Vouched } from "#access/oidc.ts";
import { isTied, tieUser } from "#access/oidc-users.ts";
import { Passwords } from "#access/passwords.ts";
import { type Asking, policySays, purposeOf } from "#access/policy/policy.ts";
import { explainPolicy } from "#access/policy/explain-policy.ts";
import { POLICY_ACTIONS } from "#access/policy/policy-actions.ts";
import { type PolicyText, type SpacePolicy, SpacePolicies } from "#access/policy/space-policies.ts";
import { S3Keys } from "#access/s3-keys.ts";
import { ACCESS_MIGRATIONS } from "#access/schema.ts";
import { SealKey } from "#access/seal-key.ts";
import { Sessions } from "#access/sessions.ts";
import { StoredRoles } from "#access/stored-roles.ts";
import { certificateFault } from "#access/ssh-certificates.ts";
import { SshKeys } from "#access/ssh-keys.ts";
import { Throttle } from "#access/throttle.ts";
import { Tokens } from "#access/tokens.ts";
import { type SignIn, Users } from "#access/users.ts";

export const SEAL_FILE = "seal.key";

export type AccessOptions = {
  readonly database: Database;
  readonly clock: Clock;
  readonly random: Random;
  /** Where the seal key, the authority and the hub's certificate are; made with mode 0700. */
  readonly directory: string;
  /** Of the bootstrap file; those that are kept in the database come beside them. */
  readonly roles: RoleBook;
  /** What a host's links lead to, as allow rules; asked for every decision, so it answers from memory. */
  readonly rulesOfHost: (host: string) => readonly Rule[];
  /** The policy of a space, as text; asked for every decision about one, so it answers from memory. Absent: there are none. */
  readonly policyOf?: ((space: string) => PolicyText | undefined) | undefined;
};

export class HubAccess implements Access {
  readonly audit: Audit;
  readonly users: Users;
  readonly tokens: Tokens;
  readonly s3Keys: S3Keys;
  readonly sshKeys: SshKeys;
  readonly sessions: Sessions;
  readonly joinTokens: JoinTokens;
  readonly hosts: Hosts;
  readonly authority: Authority;
  readonly throttle: Throttle;
  readonly storedRoles: StoredRoles;
  readonly oidc: Oidc;
  /** For other rooms that keep secrets which have to be read again. */
  readonly seal: SealKey;
  readonly #store: AccessStore;
  readonly #passwords: Passwords;
  readonly #rulesOfHost: (host: string) => readonly Rule[];
  readonly #policies: SpacePolicies;
  /**
   * Passwords that were right for a stored hash, as an HMAC of both under a key of this process: WebDAV sends one with
   * every request. Up to REMEMBERED_MAX; a new password has another hash, so nothing has to be forgotten in time.
   */
  readonly #rightPasswords = new Set<string>();
  readonly #memoryKey: Uint8Array;
  /** Checks that run: ten connections of one client that sign in together are one check. */
  readonly #checks = new Map<string, Promise<SignIn | undefined>>();

  /** Brings the tables up to date and reads or makes the key files. @throws {SynclineError} STATE, VERSION, DISK */
  static async open(options: AccessOptions): Promise<HubAccess> {
    await migrate(options.database, "access", ACCESS_MIGRATIONS);
    const seal = SealKey.open(`${options.directory}/${SEAL_FILE}`, options.random);
    const authority = Authority.open(options.directory, options.clock, options.random);
    const access = new HubAccess(options, seal, authority, await Passwords.create(options.random));
    await access.storedRoles.load();
    return access;
  }

  private constructor(options: AccessOptions, seal: SealKey, authority: Authority, passwords: Passwords) {
    const { database, clock, random } = options;
    this.audit = new Audit(database, clock, seal);
    this.#store = new AccessStore(database, clock, random, seal, this.audit);
    this.#passwords = passwords;
    this.users = new Users(this.#store, this.#passwords);
    this.tokens = new Tokens(this.#store, this.users);
    this.s3Keys = new S3Keys(this.#store, this.users);
    this.sshKeys = new SshKeys(this.#store, this.users);
    this.sessions = new Sessions(this.#store, this.users);
    this.joinTokens = new JoinTokens(this.#store);
    this.authority = authority;
    this.hosts = new Hosts(this.#store, authority, this.joinTokens);
    this.throttle = new Throttle(clock);
    this.#rulesOfHost = options.rulesOfHost;
    this.#policies = new SpacePolicies(options.policyOf ?? (() => undefined));
    this.seal = seal;
    this.oidc = new Oidc(clock, random, seal);
    this.storedRoles = new StoredRoles(this.#store, options.roles);
    this.#memoryKey = random.bytes(32);
  }

  get roles(): RoleBook {
    return this.storedRoles.book;
  }

  /** Called after every change of who exists, until the signal; long connections authenticate again then. */
  onChange(listener: () => void, signal: AbortSignal): void {
    this.#store.onChange(listener, signal);
  }

  /** Grows with every such change. */
  get generation(): number {
    return this.#store.generation;
  }

  decide(principal: Principal, action: Action, resource: Resource): Decision {
    return decide(this.roles, principal, this.#narrowing(principal), action, resource, this.#policyFor(resource));
  }

  #policyFor(resource: Resource): SpacePolicy | undefined {
    return resource.type === "space" ? this.#policies.of(resource.space) : undefined;
  }

  require(principal: Principal, action: Action, resource: Resource): void {
    const decision = this.decide(principal, action, resource);
    if (!decision.allowed) throw denied(principal, action, resource.type, decision.reason);
  }

  /**
   * What the policy of a bucket denies of a whole request, before anything of it is done: an answer for those who see the
   * bucket by their roles. Everything else is decided where it is done.
   * @throws {SynclineError} DENIED
   */
  requireAsked(principal: Principal & { readonly asking: Asking }, space: string, path: RelPath): void {
    const found = this.#policies.of(space);
    if (found === undefined) return;
    const { names, key } = principal.asking;
    const on = key === "" ? "bucket" : "object";
    const action = purposeOf(principal.asking);
    // Of a request for many keys each is decided by itself.
    const isOfThis = names[action]?.every((name) => (POLICY_ACTIONS.get(name)?.on ?? on) === on) === true;
    const said = isOfThis ? policySays(found.policy, principal, action, { type: "space", space, path }) : undefined;
    if (said?.isAllow === false) throw denied(principal, action, "space", said.reason);
  }

  /** May requests that nobody has signed be looked at for this space? */
  mayBePublic(space: string): boolean {
    return this.#policies.of(space)?.mayBePublic === true;
  }

  reaches(principal: Principal, action: Action, space: string, path: RelPath): boolean {
    return reaches(this.roles, principal, this.#narrowing(principal), action, space, path, this.#policies.of(space));
  }

  #narrowing(principal: Principal): readonly Rule[] | undefined {
    return principal.kind === "agent" ? this.#rulesOfHost(principal.name) : undefined;
  }

  /** The decision for a user by name, with its reason; for people who ask why. @throws {SynclineError} NOT_FOUND */
  async explain(user: string, action: Action, resource: Resource): Promise<Decision> {
    const found = await this.users.forSignIn(user);
    if (found === undefined) throw notFound("explain access", `user "${user}" that may sign in`);
    const { allowed, reason } = this.decide(found.principal, action, resource);
    const policy = this.#policyFor(resource);
    const more = policy === undefined || resource.type !== "space" ? "" : explainPolicy(policy.policy, found.principal, action, resource);
    return { allowed, reason: more === "" ? reason : `${reason}; ${more}` };
  }

  async authenticate(credential: Credential): Promise<Principal> {
    // Another hub on the same database may have changed a role.
    if (!this.#store.mayRemember) await this.storedRoles.refresh();
    switch (credential.type) {
      case "password":
        return (await this.#byPassword(credential.user, credential.password, credential.address)).principal;
      case "token":
        return this.#bySecret(credential.address, () => this.tokens.authenticate(credential.token));
      case "session":
        return this.#bySecret(credential.address, async () => (await this.sessions.authenticate(credential.cookie))?.principal);
      case "s3":
        return this.#bySecret(credential.address, () => this.#bySignature(credential.accessKey, credential.verify));
      case "ssh-key":
        // No guess: the connection has proved that it holds the key. Clients offer all the keys that they have.
        return orRefuse(await this.sshKeys.find(credential.user, credential.key));
      case "ssh-certificate": {
        const { user, certificate, authorities, address } = credential;
        const nowMs = this.#store.clock.nowMs();
        if (certificateFault({ user, certificate, address, nowMs }, authorities) !== undefined) throw refused("authenticate");
        return orRefuse((await this.users.forSignIn(user))?.principal);
      }
      case "certificate":
        return orRefuse(await this.hosts.authenticate(credential.certificate));
    }
  }

  /** Checks a password and opens a session of the console. @throws {SynclineError} as authenticate */
  async signIn(
    user: string,
    password: string,
    from: { readonly address: string; readonly traceId?: string | undefined },
    client: string,
  ): Promise<{ principal: Principal; id: string; cookie: string }> {
    const known = await this.#byPassword(user, password, from.address);
    const { principal } = known;
    const by = { ...from, id: principal.id };
    return { principal, ...(await this.sessions.open(by, principal.name, client, (sql) => this.users.isStill(sql, known))) };
  }

  /**
   * Opens a session for somebody whom the identity provider has vouched for.
   * @throws {SynclineError} AUTH when it is nobody of this hub, or is disabled
   */
  async signInVouched(
    vouched: Vouched,
    from: { readonly address: string; readonly traceId?: string | undefined },
    client: string,
  ): Promise<{ user: string; id: string; cookie: string }> {
    const { settings } = this.oidc;
    // The provider may have been taken away while it was asked.
    if (settings?.issuer !== vouched.issuer) throw refused("authenticate");
    const user = await tieUser(this.#store, settings, vouched, from);
    const opened = await this.sessions.open({ ...from, id: `user:${user}` }, user, client, (sql) => isTied(sql, user, vouched));
    return { user, ...opened };
  }

  /**
   * A user's own new password; it takes the old one, and ends all sessions of the user.
   * @throws {SynclineError} AUTH (the old password), USAGE (the new one), LIMIT
   */
  async changePassword(who: Principal, passwords: { old: string; new: string }, by: Actor & { address: string }): Promise<void> {
    const known = await this.#byPassword(who.name, passwords.old, by.address);
    // Of two at once that know the old one, one changes it.
    await this.users.update(by, who.name, { password: passwords.new }, known);
  }

  /** Of things that have passwords of their own (shares). @throws {SynclineError} USAGE, LIMIT */
  hashPassword(password: string): Promise<string> {
    return this.#passwords.hash(password);
  }

  /**
   * Whether it is the password of a thing. Wrong ones count at the address as those of users do, and for the thing.
   * @param of "share:ID"; no user has such a name
   * @throws {SynclineError} AUTH, retryable, when it was refused for earlier failures without being looked at; LIMIT
   */
  async isPassword(of: string, password: string, hash: string, address: string): Promise<boolean> {
    const attempt = this.throttle.begin(address, of);
    if ("refusedMs" in attempt) throw tooMany(attempt.refusedMs);
    let isRight: boolean;
    try {
      isRight = await this.#isRight(of, password, hash);
    } catch (error) {
      attempt.withdrawn();
      throw error;
    }
    if (isRight) attempt.succeeded();
    else attempt.failed();
    return isRight;
  }

  /** Takes a host in by a join token; wrong ones count as other wrong secrets do. @throws as Hosts.enrol */
  async enrol(
    joinToken: string,
    request: CertificateRequest,
    from: { readonly address: string; readonly traceId?: string | undefined },
  ): Promise<Enrolment> {
    try {
      return await this.hosts.enrol(joinToken, request, from);
    } catch (error) {
      if (error instanceof SynclineError && error.code === "AUTH") throw this.#failed(from.address);
      throw error;
    }
  }

  /**
   * Secrets of 256 bits: what is right always passes, because a program with an old token must not lock out the others
   * behind its address; what is wrong counts, so that who tries tokens gets no further with passwords.
   */
  async #bySecret(address: string, check: () => Promise<Principal | undefined>): Promise<Principal> {
    const principal = await check();
    if (principal === undefined) throw this.#failed(address);
    return principal;
  }

  #failed(address: string): SynclineError {
    const attempt = this.throttle.begin(address, undefined);
    if ("refusedMs" in attempt) return tooMany(attempt.refusedMs);
    attempt.failed();
    return refused("authenticate");
  }

  async #bySignature(accessKey: string, verify: (secretKey: string) => boolean): Promise<Principal | undefined> {
    const found = await this.s3Keys.find(accessKey);
    const isRight = verify(found?.secretKey ?? this.#store.newSecret(""));
    return isRight ? found?.principal : undefined;
  }

  async #byPassword(user: string, password: string, address: string): Promise<SignIn> {
    // The generation: who asks after a change must not join a check that was begun before it.
    const key = this.#fingerprint(`${this.#store.generation}`, user, password);
    // The same guess, made at the same time, is one guess.
    const running = this.#checks.get(key);
    if (running !== undefined) return orRefuse(await running);
    const attempt = this.throttle.begin(address, user.slice(0, 64));
    if ("refusedMs" in attempt) throw tooMany(attempt.refusedMs);
    let known: SignIn | undefined;
    try {
      const check = this.#checkPassword(user, password);
      this.#checks.set(key, check);
      known = await check;
    } catch (error) {
      attempt.withdrawn();
      throw error;
    } finally {
      this.#checks.delete(key);
    }
    if (known !== undefined) {
      attempt.succeeded();
      return known;
    }
    attempt.failed();
    // A password typed into the wrong field must not get into the log.
    const resource = `user:${USER_NAME.test(user) ? user : "?"}`;
    await this.audit.append({ id: "anonymous", address }, { action: "sign-in", resource, outcome: "denied" });
    throw refused("authenticate");
  }

  async #checkPassword(user: string, password: string): Promise<SignIn | undefined> {
    const found = USER_NAME.test(user) ? await this.users.forSignIn(user) : undefined;
    return (await this.#isRight(user, password, found?.password)) ? found : undefined;
  }

  async #isRight(of: string, password: string, hash: string | undefined): Promise<boolean> {
    const key = this.#fingerprint(hash ?? "", of, password);
    const isKnown = this.#rightPasswords.delete(key);
    if (!isKnown && !(await this.#passwords.verify(password, hash))) return false;
    this.#rightPasswords.add(key);
    if (this.#rightPasswords.size > REMEMBERED_MAX) this.#rightPasswords.delete(this.#rightPasswords.values().next().value!);
    return true;
  }

  /** The password comes last, as it may hold anything; of the others none has a NUL. */
  #fingerprint(of: string, user: string, password: string): string {
    const plain = `${of}\0${user.replaceAll("\0", " ")}\0${password}`;
    return createHmac("sha256", this.#memoryKey).update(plain).digest("latin1");
  }
}

function denied(principal: Principal, action: Action, type: Resource["type"], reason: string): SynclineError {
  const op = `${action} ${type}`;
  // Whoever passes by is not told of roles.
  if (principal.kind === "anonymous") return new SynclineError({ code: "DENIED", op, message: "not without signing in" });
  return new SynclineError({
    code: "DENIED",
    op,
    message: `${principal.id} may not: ${reason}`,
    hint: "an administrator can change the roles; `syncline access explain` shows what decides",
  });
}

function orRefuse<T extends Principal | SignIn>(known: T | undefined): T {
  if (known === undefined) throw refused("authenticate");
  return known;
}

function tooMany(refusedMs: number): SynclineError {
  return new SynclineError({
    code: "AUTH",
    op: "authenticate",
    message: "too many failed attempts",
    hint: `try again in ${Math.ceil(refusedMs / 1_000)} s`,
    retryable: true,
  });
}
