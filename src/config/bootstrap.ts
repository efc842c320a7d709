/**
 * The bootstrap file: what must exist on a hub, as code. It is checked as a whole before anything is done, and applied
 * at each start: what is missing is made, what differs is brought to what the file says, what the file does not name is
 * left alone. Nothing is ever removed by it.
 */
import { z } from "zod";
import { bookOf, roleSchema, ruleSchema } from "#access/roles-file.ts";
import { SCOPES_MAX } from "#access/tokens.ts";
import { SynclineError } from "#model/error.ts";
import { readYaml } from "#platform/yaml/checked-yaml.ts";
import { readBytes, readDurationMs } from "#config/quantities.ts";

/** Things of one kind in one file. */
const ITEMS_MAX = 10_000;

const name = z.string().min(1).max(255);
const names = z.array(name).max(1000);
const secret = z.string().min(1).max(512);
/** What a token or key may do at most. */
const scopes = z.array(ruleSchema).max(SCOPES_MAX).optional();

const size = z.union([z.int().min(0), z.string()]).transform((given, context) => {
  const bytes = typeof given === "number" ? given : readBytes(given);
  if (bytes !== undefined) return bytes;
  context.addIssue({ code: "custom", message: `"${given}" is no size; write it like 10GiB` });
  return z.NEVER;
});

const duration = z.string().transform((given, context) => {
  const ms = readDurationMs(given);
  if (ms !== undefined) return ms;
  context.addIssue({ code: "custom", message: `"${given}" is no duration; write it like 90d` });
  return z.NEVER;
});

const many = <T extends z.ZodType>(one: T) => z.array(one).max(ITEMS_MAX).default([]);

const schema = z
  .strictObject({
    spaces: many(
      z.strictObject({
        name,
        quotaBytes: size.optional(),
        quotaEntries: z.int().min(0).optional(),
        retention: z.strictObject({ versions: z.int().min(0).optional(), age: duration.optional() }).optional(),
        ignore: z.array(z.string()).max(1000).optional(),
      }),
    ),
    roles: many(roleSchema),
    groups: many(z.strictObject({ name, roles: names.default([]) })),
    users: many(
      z.strictObject({
        name,
        password: z.string().min(1).max(1024).optional(),
        roles: names.optional(),
        groups: names.optional(),
        oidc: z.boolean().optional(),
      }),
    ),
    tokens: many(z.strictObject({ user: name, value: secret, name: name.optional(), scopes })),
    s3Keys: many(z.strictObject({ user: name, accessKey: secret, secretKey: secret, scopes })),
    sshKeys: many(z.strictObject({ user: name, key: z.string().min(1).max(16_384) })),
    joinTokens: many(
      z.strictObject({ value: secret, labels: names.optional(), uses: z.int().min(1).optional() }),
    ),
    links: many(
      z.looseObject({ host: name.optional(), label: name.optional(), root: z.string().min(1), space: name }),
    ),
    follow: many(
      z
        .strictObject({
          space: name,
          from: z.string().regex(/^https?:\/\/[^/\s]+\/?$/, "the address of a hub, like https://hub.example.com:7830"),
          as: name.optional(),
          token: secret.optional(),
          tokenFile: z.string().min(1).optional(),
          ca: z.string().min(1).max(65_536).optional(),
          caFile: z.string().min(1).optional(),
        })
        .refine(({ token, tokenFile }) => (token === undefined) !== (tokenFile === undefined), "either token or tokenFile"),
    ),
  })
  .nullable()
  .transform((file) => file ?? EMPTY);

const EMPTY = {
  spaces: [],
  roles: [],
  groups: [],
  users: [],
  tokens: [],
  s3Keys: [],
  sshKeys: [],
  joinTokens: [],
  links: [],
  follow: [],
};

export type Bootstrap = z.infer<typeof schema>;
/** Of things of this hub alone. What follows another hub is begun when that one answers. */
export type BootstrapKind = Exclude<keyof Bootstrap, "follow">;

/** @throws {SynclineError} USAGE with file, line, column and key of everything that is wrong */
export function readBootstrap(text: string, file: string): Bootstrap {
  const bootstrap = readYaml(text, file, schema) as Bootstrap;
  bookOf(bootstrap.roles, file);
  return bootstrap;
}

/** What one item of the file came to. */
export type Applied = "made" | "changed" | "same";

/** Brings one item about; the second look at the same item must find it "same". */
export type BootstrapTarget = {
  readonly [K in BootstrapKind]: (item: Bootstrap[K][number]) => Promise<Applied>;
};

/** The order in which things need each other. */
const ORDER: readonly BootstrapKind[] = [
  "spaces",
  "roles",
  "groups",
  "users",
  "tokens",
  "s3Keys",
  "sshKeys",
  "joinTokens",
  "links",
];

/** What an item is called in the log; never its secret. */
function labelOf(kind: BootstrapKind, item: Record<string, unknown>, at: number): string {
  const words = [item["name"], item["user"], item["accessKey"], item["host"] ?? item["label"], item["root"]];
  const label = words.filter((word) => typeof word === "string").join(" ");
  return label === "" ? `${kind}[${at}]` : label;
}

/** What is refused while the hub begins says where in the file it is; it is nothing to look up at the hub. */
function atItem(error: unknown, place: string): unknown {
  if (!(error instanceof SynclineError) || (error.code !== "NOT_FOUND" && error.code !== "USAGE")) return error;
  return new SynclineError({
    code: "USAGE",
    op: "apply bootstrap file",
    message: `bootstrap file: ${place}: ${error.message}`,
    hint: "correct it, or add what it names to the file; what was applied before it stays, and is left alone the next time",
    cause: error,
  });
}

export type BootstrapCounts = { readonly made: number; readonly changed: number; readonly same: number };

/**
 * Applies a file, in the order in which things need each other; idempotent.
 * @param log one call for each item that was not as the file says
 */
export async function applyBootstrap(
  file: Bootstrap,
  target: BootstrapTarget,
  log: (done: "made" | "changed", kind: BootstrapKind, label: string) => void,
): Promise<BootstrapCounts> {
  const counts = { made: 0, changed: 0, same: 0 };
  for (const kind of ORDER) {
    for (const [at, item] of file[kind].entries()) {
      const apply = target[kind] as (item: unknown) => Promise<Applied>;
      const done = await apply(item).catch((error: unknown) => {
        throw atItem(error, `${kind}[${at}]`);
      });
      counts[done]++;
      if (done !== "same") log(done, kind, labelOf(kind, item, at));
    }
  }
  return counts;
}
