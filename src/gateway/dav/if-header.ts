/**
 * The If header (RFC 4918 §10.4): lists of conditions on states, each list for one resource. Parsed whole or refused;
 * pure.
 */

/** Characters of the header; and lists and conditions of all of them. */
export const IF_CHARS_MAX = 16 << 10;
export const IF_CONDITIONS_MAX = 500;

export type IfCondition = { readonly isNot: boolean } & (
  | { readonly token: string }
  /** With its quotes, and W/ where it is weak. */
  | { readonly etag: string }
);

export type IfList = {
  /** What the list is about; undefined: the resource of the request. */
  readonly tag: string | undefined;
  readonly conditions: readonly IfCondition[];
};

/** What is true of a resource that a list is about. */
export type IfState = { readonly tokens: ReadonlySet<string>; readonly etag: string | undefined };

const WHITE = "[ \\t]*";
const TAG = new RegExp(`${WHITE}<([^<>\\s]+)>`, "y");
const OPEN = new RegExp(`${WHITE}\\(`, "y");
const CLOSE = new RegExp(`${WHITE}\\)`, "y");
const CONDITION = new RegExp(`${WHITE}(Not\\b)?${WHITE}(?:<([^<>\\s]+)>|\\[${WHITE}((?:W/)?"[^"\\]]*")${WHITE}\\])`, "iy");
const END = new RegExp(`${WHITE}$`, "y");

/** The lists of a header, in order; undefined: it is not well formed, or larger than the limits. */
export function parseIf(header: string): IfList[] | undefined {
  if (header.length > IF_CHARS_MAX) return undefined;
  let at = 0;
  let count = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const match = pattern.exec(header);
    if (match !== null) at += match[0].length;
    return match;
  };
  const lists: IfList[] = [];
  let tag = take(TAG)?.[1];
  const isTagged = tag !== undefined;
  while (take(END) === null) {
    if (take(OPEN) === null) {
      // Another resource; a header is tagged as a whole or not at all, and a tag has a list.
      const next = isTagged ? take(TAG)?.[1] : undefined;
      if (next === undefined || lists.at(-1)?.tag !== tag) return undefined;
      tag = next;
      continue;
    }
    const conditions: IfCondition[] = [];
    while (take(CLOSE) === null) {
      const match = take(CONDITION);
      if (match === null || ++count > IF_CONDITIONS_MAX) return undefined;
      const isNot = match[1] !== undefined;
      conditions.push(match[2] === undefined ? { isNot, etag: match[3]! } : { isNot, token: match[2] });
    }
    if (conditions.length === 0) return undefined;
    lists.push({ tag, conditions });
  }
  return lists.length === 0 || lists.at(-1)!.tag !== tag ? undefined : lists;
}

/** Every token that the header names, whether its list holds or not: what the client says that it has. */
export function tokensOf(lists: readonly IfList[]): Set<string> {
  const tokens = new Set<string>();
  for (const { conditions } of lists) {
    for (const condition of conditions) if ("token" in condition && !condition.isNot) tokens.add(condition.token);
  }
  return tokens;
}

/** Does one of the lists hold? `stateOf` is asked once for each list; undefined: there is no such resource here. */
export async function ifHolds(
  lists: readonly IfList[],
  stateOf: (tag: string | undefined) => Promise<IfState | undefined>,
): Promise<boolean> {
  for (const { tag, conditions } of lists) {
    const state = await stateOf(tag);
    const holds = conditions.every((condition) => {
      const isThere = "token" in condition ? state?.tokens.has(condition.token) : state?.etag === condition.etag;
      return (isThere ?? false) !== condition.isNot;
    });
    if (holds) return true;
  }
  return false;
}
