/** What the configuration says of the identity provider, as access takes it. */
import type { OidcSettings } from "#access/oidc.ts";
import { SynclineError } from "#model/error.ts";
import type { HubConfig } from "#config/hub-config.ts";

/**
 * Undefined: there is none.
 * @param readSecret gives the text of a file
 * @throws {SynclineError} USAGE for keys that are of no use without an issuer; what `readSecret` throws
 */
export function oidcSettingsOf(config: HubConfig, readSecret: (file: string) => string): OidcSettings | undefined {
  const { oidcIssuer: issuer, oidcClientSecretFile: secretFile } = config;
  if (issuer === undefined) {
    const idle = Object.keys(config).find((key) => key.startsWith("oidc"));
    if (idle === undefined) return undefined;
    const message = `${idle} says something of an identity provider, and oidcIssuer names none`;
    throw new SynclineError({ code: "USAGE", op: "read configuration", message, hint: "syncline config explain oidcIssuer" });
  }
  return {
    issuer,
    clientId: config.oidcClientId ?? "syncline",
    clientSecret: secretFile === undefined ? undefined : readSecret(secretFile).trim(),
    scopes: config.oidcScopes ?? ["openid", "profile"],
    userClaim: config.oidcUserClaim ?? "preferred_username",
    groupClaim: config.oidcGroupClaim ?? "groups",
    groups: mappingOf(config.oidcGroups ?? []),
    roles: mappingOf(config.oidcRoles ?? []),
    provision: config.oidcProvision === "yes",
  };
}

/** The last "=" divides: names of ours have none. */
function mappingOf(lines: readonly string[]): Map<string, string[]> {
  const mapping = new Map<string, string[]>();
  for (const line of lines) {
    const at = line.lastIndexOf("=");
    const theirs = line.slice(0, at);
    mapping.set(theirs, [...(mapping.get(theirs) ?? []), line.slice(at + 1)]);
  }
  return mapping;
}
