/** What a token or an S3 key may do at most, as people write and read it: "read,write:site:docs". */
import { ACTIONS } from "#access/access.ts";
import { SPACE_NAME } from "#hub/space.ts";
import { pathFault, printablePath } from "#model/path.ts";
import type { Context } from "#cli/context.ts";
import { parseChoice, usage } from "#cli/values.ts";

/** Rules of the API. Undefined: whatever the user may. @throws {SynclineError} USAGE */
export function scopesOf({ parsed }: Context): readonly Record<string, unknown>[] | undefined {
  return parsed.given.scope?.map(ruleOf);
}

function ruleOf(text: string): Record<string, unknown> {
  const [, words, space, path] = /^([^:]+):([^:]+)(?::(.+))?$/.exec(text) ?? [];
  if (words === undefined || space === undefined) throw usage(`--scope: "${text}" names no space`, "write it like read,write:site:docs");
  const actions = words.split(",").map((word) => parseChoice(word.trim(), [...ACTIONS, "*"]));
  if (space !== "*" && !SPACE_NAME.test(space)) throw usage(`--scope: "${space}" is no name of a space`, "write it like read:site:docs");
  const fault = path === undefined ? undefined : pathFault(path);
  if (fault !== undefined) throw usage(`--scope: "${path}" cannot be a path in a space: ${fault}`);
  return {
    effect: "allow",
    resource: "space",
    actions,
    ...(space === "*" ? {} : { names: [space] }),
    ...(path === undefined ? {} : { prefixes: [path] }),
  };
}

/** "read:site:docs read,write:inbox"; "" for what is not narrowed. Rules that are written otherwise are told as such. */
export function scopeWords(scopes: readonly unknown[] | undefined): string {
  return (scopes ?? []).map(wordsOf).join(" ") || (scopes === undefined ? "" : "nothing");
}

type Told = { effect?: unknown; resource?: unknown; actions?: unknown; names?: unknown; prefixes?: unknown; labels?: unknown };

function wordsOf(rule: unknown): string {
  const { effect, resource, actions, names = ["*"], prefixes = [], labels } = (rule ?? {}) as Told;
  const isPlain =
    effect === "allow" && resource === "space" && labels === undefined && isTexts(actions) && isTexts(names) && isTexts(prefixes);
  if (!isPlain || names.length !== 1 || prefixes.length > 1) return "by-rules";
  return printablePath([actions.join(","), ...names, ...prefixes].join(":"));
}

const isTexts = (value: unknown): value is string[] => Array.isArray(value) && value.every((one) => typeof one === "string");
