/** What a PostgreSQL server or the way to it refused, in our own terms. */
import { SQL } from "bun";
import { SynclineError } from "#model/error.ts";

/** Serializable transactions that collided, and deadlocks: beginning again helps. */
export function isCollision(error: unknown): boolean {
  const state = stateOf(error);
  return state === "40001" || state === "40P01";
}

/** The connection is gone, or the server is starting or stopping. */
export function isLost(error: unknown): boolean {
  const state = stateOf(error);
  if (state !== undefined) return /^(08...|57P0[123])$/.test(state);
  const code = error instanceof SQL.PostgresError ? error.code : undefined;
  return code !== undefined && /CONNECTION_(CLOSED|REFUSED|RESET|FAILED)|IDLE_TIMEOUT|LIFETIME/.test(code);
}

/** SQLSTATE, when the server itself answered. */
function stateOf(error: unknown): string | undefined {
  if (!(error instanceof SQL.PostgresError) || error.errno === undefined) return undefined;
  const state = String(error.errno);
  return /^[0-9A-Z]{5}$/.test(state) ? state : undefined;
}

export function lostAtCommit(cause: unknown): SynclineError {
  return new SynclineError({
    code: "LINK_LOST",
    op: "commit",
    message: "the connection to the database was lost in a commit; it may have been made or not",
    hint: "look whether the change is there before making it again",
    cause,
  });
}

/** By SQLSTATE (or its class of two characters): our code, what to say, what to do. */
const KNOWN: Record<string, { code: SynclineError["code"]; message: string; hint: string; retryable?: boolean }> = {
  "23505": { code: "EXISTS", message: "a row like it is there already", hint: "choose another name" },
  "28": { code: "AUTH", message: "the database server refused the user", hint: "check user and password of the address" },
  "3D": { code: "STATE", message: "the database does not exist", hint: "make it with createdb" },
  "42501": { code: "DENIED", message: "the database user has too few rights", hint: "GRANT it all on its schema" },
  "53100": { code: "DISK", message: "the database server's disk is full", hint: "make room on it" },
  "53300": {
    code: "LIMIT",
    message: "the database server has no free connection",
    hint: "raise max_connections",
    retryable: true,
  },
  "55P03": { code: "LIMIT", message: "a lock was not free in time", hint: "try again", retryable: true },
  "57014": { code: "LIMIT", message: "a statement took too long", hint: "look at the server's load", retryable: true },
  "58": { code: "DISK", message: "the database server cannot use its disk", hint: "look at the server's log" },
  XX: { code: "STATE", message: "the database is damaged", hint: "look at the server's log; put back a backup" },
};

/** Never names the address: a password may be in it. */
export function postgresError(error: unknown): unknown {
  if (!(error instanceof SQL.PostgresError)) return error;
  const facts = { op: "use database", cause: error };
  if (isCollision(error)) {
    return new SynclineError({
      ...facts,
      code: "LIMIT",
      message: "a transaction collided with others again and again",
      hint: "too many write the same at once: try again",
      retryable: true,
    });
  }
  if (isLost(error)) {
    return new SynclineError({
      ...facts,
      code: "LINK_LOST",
      message: `the database server does not answer (${error.message})`,
      hint: "check that it runs and that its address is right",
      retryable: true,
    });
  }
  const state = stateOf(error) ?? "";
  const known = KNOWN[state] ?? KNOWN[state.slice(0, 2)];
  if (known !== undefined) {
    return new SynclineError({ ...facts, ...known, message: `${known.message} (${state}: ${error.message})` });
  }
  return new SynclineError({
    ...facts,
    code: "STATE",
    message: `the database refused an operation (${state || error.code}: ${error.message})`,
    hint: "this is a fault of the program: please report it with the log",
  });
}
