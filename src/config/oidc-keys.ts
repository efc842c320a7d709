/** The keys of a hub's configuration that are about its identity provider (hub-keys.ts has the others). */
import type { KeySpec } from "#config/hub-keys.ts";

const CLAIM = /^[\x21-\x7e]{1,200}$/;
const MAPPING = /^.{1,255}=[^=]{1,64}$/;

export const OIDC_KEYS = {
  oidcIssuer: {
    type: "text",
    pattern: /^(https:\/\/[^\s?#]+|http:\/\/(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?(\/[^\s?#]*)?)$/,
    grammar: "the https address of an OpenID Connect provider (http on loopback)",
    fallback: "none",
    help: "people sign in through this OpenID Connect provider; its redirect address is PUBLIC-URL/v1/oidc/callback",
    value: "URL",
    isReloadable: true,
  },
  oidcClientId: {
    type: "text",
    pattern: /^[\x21-\x7e]{1,255}$/,
    grammar: "what the provider calls this hub",
    fallback: "syncline",
    help: "what the provider calls this hub",
    value: "ID",
    isReloadable: true,
  },
  oidcClientSecretFile: {
    type: "text",
    pattern: /^.+$/,
    grammar: "a file",
    fallback: "none: a public client",
    help: "file holding the hub's secret at the provider",
    value: "FILE",
    isReloadable: true,
  },
  oidcScopes: {
    type: "list",
    pattern: /^[\x21\x23-\x5b\x5d-\x7e]{1,255}$/,
    grammar: "scopes",
    fallback: "openid, profile",
    help: "what the hub asks the provider for",
    value: "SCOPE,...",
    isReloadable: true,
  },
  oidcUserClaim: {
    type: "text",
    pattern: CLAIM,
    grammar: "the name of a claim",
    fallback: "preferred_username",
    help: "what of the provider's words is the name of the user",
    value: "CLAIM",
    isReloadable: true,
  },
  oidcGroupClaim: {
    type: "text",
    pattern: CLAIM,
    grammar: "the name of a claim",
    fallback: "groups",
    help: "what of the provider's words lists the groups of the user",
    value: "CLAIM",
    isReloadable: true,
  },
  oidcGroups: {
    type: "list",
    pattern: MAPPING,
    grammar: "THEIRS=OURS, like staff=crew",
    fallback: "none",
    help: "groups of the hub that follow groups of the provider at each sign-in",
    value: "THEIRS=OURS,...",
    isReloadable: true,
  },
  oidcRoles: {
    type: "list",
    pattern: MAPPING,
    grammar: "THEIRS=ROLE, like admins=admin",
    fallback: "none",
    help: "roles that follow groups of the provider at each sign-in",
    value: "THEIRS=ROLE,...",
    isReloadable: true,
  },
  oidcProvision: {
    type: "text",
    pattern: /^(yes|no)$/,
    grammar: "yes or no",
    fallback: "no",
    help: "yes: whoever the provider knows becomes a user at the first sign-in",
    value: "yes|no",
    isReloadable: true,
  },
} as const satisfies Record<string, KeySpec>;
