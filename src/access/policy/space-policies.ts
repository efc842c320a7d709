/** Policies of spaces, as they are in force: read once, and again when their text is another. */
import type { Policy } from "#access/policy/policy.ts";
import { parsePolicy } from "#access/policy/parse-policy.ts";

/** What of a space's settings concerns policies. */
export type PolicyText = {
  readonly text: string;
  /** The operator lets it be public, and nobody has closed it. */
  readonly mayBePublic: boolean;
};

export type SpacePolicy = { readonly policy: Policy; readonly mayBePublic: boolean };

/** Policies that are remembered; the one read longest ago goes first. */
const KNOWN_MAX = 1_000;

/** In place of one that cannot be read: what it would have denied must not come to pass. */
const UNREADABLE: Policy = {
  statements: [
    {
      label: "which cannot be read (put it again)",
      isAllow: false,
      users: undefined,
      actions: ["*"],
      isNotAction: false,
      hasBucket: true,
      keys: ["*"],
      isNotResource: false,
      conditions: [],
    },
  ],
};

export class SpacePolicies {
  readonly #textOf: (space: string) => PolicyText | undefined;
  readonly #known = new Map<string, Policy>();

  /** @param textOf asked for every decision, so it answers from memory */
  constructor(textOf: (space: string) => PolicyText | undefined) {
    this.#textOf = textOf;
  }

  /** That of the space at this moment; undefined: it has none. */
  of(space: string): SpacePolicy | undefined {
    const found = this.#textOf(space);
    if (found === undefined) return undefined;
    return { policy: this.#parsed(found.text), mayBePublic: found.mayBePublic };
  }

  #parsed(text: string): Policy {
    const known = this.#known.get(text);
    if (known !== undefined) return known;
    const policy = parsedOr(text);
    this.#known.set(text, policy);
    if (this.#known.size > KNOWN_MAX) this.#known.delete(this.#known.keys().next().value!);
    return policy;
  }
}

function parsedOr(text: string): Policy {
  try {
    return parsePolicy(text, undefined);
  } catch {
    return UNREADABLE;
  }
}
