/** Roles may be given before they exist, and allow nothing until then: whoever gives one hears of it. */
import type { AccessClient } from "#gateway/client/access-client.ts";
import type { Output } from "#cli/output.ts";
import { nearest } from "#cli/values.ts";
import { SynclineError } from "#model/error.ts";

/** One line for each role that does not exist. */
export function unknownRoleLines(given: readonly string[], known: readonly string[]): string[] {
  return given
    .filter((role) => !known.includes(role))
    .map((role) => {
      const near = nearest(role, known);
      return `role "${role}" does not exist: it allows nothing until it is made${near === undefined ? "" : `; did you mean "${near}"?`}`;
    });
}

/** Who may give roles but not see them hears nothing. */
export async function warnOfUnknownRoles(output: Output, client: AccessClient, given: readonly string[] = []): Promise<void> {
  if (given.length === 0) return;
  try {
    const known = await client.roles();
    for (const line of unknownRoleLines(given, known.map(({ name }) => name))) output.warn(line);
  } catch (error) {
    if (!(error instanceof SynclineError) || error.code !== "DENIED") throw error;
  }
}
