/**
 * How a hub without users gets its first one: a token in a file that only who runs the hub can read. It works once; the
 * file goes when somebody exists.
 */
import { rmSync } from "node:fs";
import { createHash, timingSafeEqual } from "node:crypto";
import { join } from "node:path";
import type { Actor } from "#access/audit.ts";
import type { HubAccess } from "#access/hub-access.ts";
import { SynclineError } from "#model/error.ts";
import type { Random } from "#platform/host.ts";
import { readPrivateFile, writePrivateFile } from "#platform/net/private-file.ts";

const SETUP_FILE = "setup-token";

export class HubSetup {
  readonly #access: HubAccess;
  readonly #path: string;
  readonly #random: Random;
  #token: string | undefined;
  #isBusy = false;

  private constructor(access: HubAccess, path: string, random: Random) {
    this.#access = access;
    this.#path = path;
    this.#random = random;
  }

  static async open(access: HubAccess, dataDir: string, random: Random): Promise<HubSetup> {
    return Promise.resolve(new HubSetup(access, join(dataDir, SETUP_FILE), random));
  }

  /** Where the token is, while there is one. */
  get file(): string | undefined {
    return this.#token === undefined ? undefined : this.#path;
  }

  /** Makes the token where nobody exists, and forgets it where somebody does. */
  async refresh(): Promise<void> {
    const isNew = (await this.#access.users.page("", 1)).length === 0;
    if (!isNew) return this.#forget();
    const kept = readPrivateFile(this.#path)?.trim();
    this.#token = kept !== undefined && kept !== "" ? kept : `syncline_setup_${this.#random.bytes(24).toHex()}`;
    if (kept !== this.#token) writePrivateFile(this.#path, `${this.#token}\n`);
  }

  #forget(): void {
    this.#token = undefined;
    rmSync(this.#path, { force: true });
  }

  /** @throws {SynclineError} AUTH when the token is another or was used; what making a user throws */
  async claim(first: { token: string; user: string; password: string }, by: Actor): Promise<string> {
    if (this.#token === undefined || this.#isBusy || !sameText(first.token, this.#token)) throw refused();
    this.#isBusy = true;
    try {
      // Somebody may have been made by other means since the hub was started.
      if ((await this.#access.users.page("", 1)).length > 0) throw refused();
      await this.#access.users.create(by, first.user, { password: first.password, roles: ["admin"] });
      const { value } = await this.#access.tokens.create(by, { user: first.user, name: "setup" });
      this.#forget();
      return value;
    } finally {
      this.#isBusy = false;
    }
  }
}

function sameText(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}

const refused = (): SynclineError =>
  new SynclineError({
    code: "AUTH",
    op: "set up",
    message: "this set-up token is not valid, or was used",
    hint: "the hub prints where it is kept when it starts and nobody exists yet",
  });
