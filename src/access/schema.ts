/** The tables of this room. Lists and rules are JSON in TEXT; secrets are never there, but for what seal-key.ts sealed. */
import type { Migration } from "#platform/sql/database.ts";

export const ACCESS_MIGRATIONS: readonly Migration[] = [
  {
    id: 1,
    statements: [
      `CREATE TABLE access_users (
        name TEXT PRIMARY KEY, password TEXT, roles TEXT NOT NULL, disabled_ms BIGINT, created_ms BIGINT NOT NULL)`,
      "CREATE TABLE access_groups (name TEXT PRIMARY KEY, roles TEXT NOT NULL, created_ms BIGINT NOT NULL)",
      `CREATE TABLE access_members (
        user_name TEXT NOT NULL, group_name TEXT NOT NULL, PRIMARY KEY (user_name, group_name))`,
      "CREATE INDEX access_members_group ON access_members (group_name)",
      `CREATE TABLE access_tokens (
        id TEXT PRIMARY KEY, hash blob NOT NULL UNIQUE, user_name TEXT NOT NULL, name TEXT NOT NULL, scopes TEXT,
        created_ms BIGINT NOT NULL, expires_ms BIGINT, used_ms BIGINT, UNIQUE (user_name, name))`,
      `CREATE TABLE access_s3_keys (
        access_key TEXT PRIMARY KEY, user_name TEXT NOT NULL, sealed blob NOT NULL, created_ms BIGINT NOT NULL)`,
      "CREATE INDEX access_s3_keys_user ON access_s3_keys (user_name)",
      `CREATE TABLE access_ssh_keys (
        user_name TEXT NOT NULL, fingerprint TEXT NOT NULL, line TEXT NOT NULL, created_ms BIGINT NOT NULL,
        PRIMARY KEY (user_name, fingerprint))`,
      `CREATE TABLE access_join_tokens (
        id TEXT PRIMARY KEY, hash blob NOT NULL UNIQUE, labels TEXT NOT NULL, uses_left BIGINT, expires_ms BIGINT,
        created_ms BIGINT NOT NULL)`,
      `CREATE TABLE access_hosts (
        name TEXT PRIMARY KEY, key_hash blob NOT NULL, join_token TEXT NOT NULL, labels TEXT NOT NULL,
        enrolled_ms BIGINT NOT NULL)`,
      `CREATE TABLE access_certificates (
        serial TEXT PRIMARY KEY, host TEXT NOT NULL, issued_ms BIGINT NOT NULL, until_ms BIGINT NOT NULL,
        revoked_ms BIGINT)`,
      "CREATE INDEX access_certificates_host ON access_certificates (host)",
      `CREATE TABLE access_sessions (
        hash blob PRIMARY KEY, id TEXT NOT NULL UNIQUE, user_name TEXT NOT NULL, created_ms BIGINT NOT NULL,
        seen_ms BIGINT NOT NULL, address TEXT NOT NULL, client TEXT NOT NULL)`,
      "CREATE INDEX access_sessions_user ON access_sessions (user_name)",
      `CREATE TABLE access_audit (
        seq BIGINT PRIMARY KEY, time_ms BIGINT NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL,
        resource TEXT NOT NULL, outcome TEXT NOT NULL, address TEXT, trace_id TEXT, details TEXT, hash blob NOT NULL)`,
      `CREATE TABLE access_audit_head (
        id BIGINT PRIMARY KEY, seq BIGINT NOT NULL, hash blob NOT NULL, seal blob NOT NULL)`,
    ],
  },
  {
    id: 2,
    statements: [
      "CREATE TABLE access_roles (name TEXT PRIMARY KEY, role TEXT NOT NULL, changed_ms BIGINT NOT NULL)",
      // Grows with every change of a role, so that another hub on this database sees that its book is old.
      "CREATE TABLE access_role_book (id BIGINT PRIMARY KEY, version BIGINT NOT NULL)",
      "INSERT INTO access_role_book (id, version) VALUES (1, 0)",
    ],
  },
  {
    id: 3,
    statements: [
      // Without issuer and subject: whoever the provider calls so may be tied to the user once.
      `CREATE TABLE access_oidc (
        user_name TEXT PRIMARY KEY, issuer TEXT, subject TEXT, UNIQUE (issuer, subject))`,
    ],
  },
  {
    id: 4,
    // What a key may do at most; NULL: all that its user may.
    statements: ["ALTER TABLE access_s3_keys ADD COLUMN scopes TEXT"],
  },
  {
    id: 5,
    statements: [
      // What was issued to a host until then is refused, and so is this key, in that host's name; NULL: no key is.
      "CREATE TABLE access_revocations (host TEXT PRIMARY KEY, key_hash blob, revoked_ms BIGINT NOT NULL)",
    ],
  },
  {
    id: 6,
    statements: [
      // A host that joined anew may be revoked again: the keys before stay revoked, however many they are.
      `CREATE TABLE access_revoked_keys (
        host TEXT NOT NULL, key_hash blob NOT NULL, revoked_ms BIGINT NOT NULL, PRIMARY KEY (host, key_hash))`,
      `INSERT INTO access_revoked_keys (host, key_hash, revoked_ms)
        SELECT host, key_hash, revoked_ms FROM access_revocations WHERE key_hash IS NOT NULL`,
      "ALTER TABLE access_revocations DROP COLUMN key_hash",
    ],
  },
];
