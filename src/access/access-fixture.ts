/** A hub's access over a real database and real files, with a clock that tests move. */
import { createPrivateKey } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SynclineError } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import { makeKeyPair } from "#platform/net/certificate.ts";
import type { Database } from "#platform/sql/database.ts";
import { openSqlite } from "#platform/sql/sqlite.ts";
import { SimRandom } from "#testing/sim-random.ts";
import type { Principal, Rule } from "#access/access.ts";
import type { Actor } from "#access/audit.ts";
import { RoleBook } from "#access/decide.ts";
import type { CertificateRequest } from "#access/hosts.ts";
import { HubAccess } from "#access/hub-access.ts";
import { provePossession } from "#access/possession.ts";

export const BY: Actor = { id: "user:root", address: "192.0.2.1", traceId: "0123456789abcdef0123456789abcdef" };
export const PASSWORD = "correct horse";

/** Moves only when told. */
export class StillClock implements Clock {
  #wallMs = Date.UTC(2026, 0, 1);
  #monotonicMs = 0;

  nowMs(): number {
    return this.#wallMs;
  }

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  sleep(): Promise<void> {
    return Promise.reject(new Error("nothing here sleeps"));
  }

  pass(ms: number): void {
    this.#wallMs += ms;
    this.#monotonicMs += ms;
  }
}

export class AccessWorld implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), "syncline-access-"));
  readonly clock = new StillClock();
  readonly links = new Map<string, readonly Rule[]>();
  readonly database: Database;
  access!: HubAccess;

  private constructor(open: (directory: string) => Database) {
    this.database = open(this.directory);
  }

  /** Worlds of different seeds have different keys. */
  static async open(seed = 1, database?: Database): Promise<AccessWorld> {
    const world = new AccessWorld((directory) => database ?? openSqlite(join(directory, "hub.db")));
    world.access = await world.again(seed);
    return world;
  }

  /** Another start over the same database and files. */
  again(seed: number, database = this.database): Promise<HubAccess> {
    return HubAccess.open({
      database,
      clock: this.clock,
      random: new SimRandom(seed).asRandom(),
      directory: join(this.directory, "keys"),
      roles: new RoleBook([]),
      rulesOfHost: (host) => this.links.get(host) ?? [],
    });
  }

  async user(name: string, ...roles: string[]): Promise<void> {
    await this.access.users.create(BY, name, { password: PASSWORD, roles });
  }

  signIn(user: string, password: string, address = "198.51.100.1"): Promise<Principal> {
    return this.access.authenticate({ type: "password", user, password, address });
  }

  byToken(token: string, address = "198.51.100.1"): Promise<Principal> {
    return this.access.authenticate({ type: "token", token, address });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.database.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** The error's code and message; fails when there is none. */
export async function refusal(promise: Promise<unknown>): Promise<{ code: string; message: string; hint: string | undefined; retryable: boolean }> {
  try {
    await promise;
  } catch (error) {
    if (!(error instanceof SynclineError)) throw error;
    return { code: error.code, message: error.message, hint: error.hint, retryable: error.retryable };
  }
  throw new Error("it was not refused");
}

export const codeOf = async (promise: Promise<unknown>): Promise<string> => (await refusal(promise)).code;

/** A new key of a host, and its request for a certificate. */
export function requestOf(host: string): CertificateRequest & { readonly key: string } {
  const pair = makeKeyPair();
  return { host, publicKey: pair.publicKey, proof: provePossession(host, pair.publicKey, createPrivateKey(pair.pem)), key: pair.pem };
}
