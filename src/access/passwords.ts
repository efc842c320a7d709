/** Passwords: argon2id, few at a time, because each run takes memory and a core. */
import { SynclineError } from "#model/error.ts";
import type { Random } from "#platform/host.ts";
import { unusable } from "#access/access-store.ts";

/** OWASP's second choice of parameters: 19 MiB, two passes, one lane; some 40 ms on one core. */
export const ARGON2_MEMORY_KIB = 19_456;
export const ARGON2_PASSES = 2;
/** Runs at the same time, and runs that wait for one of them. */
export const ARGON2_RUNS_MAX = 2;
export const ARGON2_WAITING_MAX = 32;
export const PASSWORD_CHARS_MIN = 8;
/** Bytes of UTF-8; longer ones are refused unseen. */
export const PASSWORD_BYTES_MAX = 1_024;

export class Passwords {
  /** Of a password that nobody has, so that a name that does not exist takes as long as one that does. */
  readonly #nobody: string;
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  static async create(random: Random): Promise<Passwords> {
    return new Passwords(await argon2id(Buffer.from(random.bytes(24)).toString("hex")));
  }

  private constructor(nobody: string) {
    this.#nobody = nobody;
  }

  /** @throws {SynclineError} USAGE when it is too short or too long, LIMIT */
  async hash(password: string): Promise<string> {
    if (password.length < PASSWORD_CHARS_MIN || Buffer.byteLength(password) > PASSWORD_BYTES_MAX)
      throw unusable("set password", `a password has ${PASSWORD_CHARS_MIN} characters to ${PASSWORD_BYTES_MAX} bytes`);
    return this.#limited(() => argon2id(password));
  }

  /**
   * Takes the same time with and without a hash.
   * @throws {SynclineError} LIMIT when too many wait
   */
  async verify(password: string, hash: string | undefined): Promise<boolean> {
    const isUsable = password !== "" && Buffer.byteLength(password) <= PASSWORD_BYTES_MAX;
    const isRight = await this.#limited(() => Bun.password.verify(isUsable ? password : "-", hash ?? this.#nobody));
    return isRight && isUsable && hash !== undefined;
  }

  async #limited<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running >= ARGON2_RUNS_MAX) {
      if (this.#waiting.length >= ARGON2_WAITING_MAX)
        throw new SynclineError({
          code: "LIMIT",
          op: "check password",
          message: "too many passwords are being checked",
          hint: "try again in a moment",
          retryable: true,
        });
      // Whoever ends hands its place on: nobody who comes later gets in between.
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#running++;
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }
}

function argon2id(password: string): Promise<string> {
  const options = { algorithm: "argon2id", memoryCost: ARGON2_MEMORY_KIB, timeCost: ARGON2_PASSES } as const;
  return Bun.password.hash(password, options);
}
