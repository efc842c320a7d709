/**
 * Which versions of a space S3 knows by their own number, and which as the one "null" version that a key has beside
 * those. What decides is when a version was made, so it holds for whatever door, agent or job made it, also for what was
 * there before anybody asked for versions:
 *
 * - before versioning was first set: "null", and a removal leaves no delete marker behind;
 * - while it is enabled: its own number, which is its sequence;
 * - while it is suspended: "null" again, and so are delete markers.
 *
 * Of the versions of a path that are "null" the last one made is the one that there is; it has taken the place of those
 * before it, which no longer exist for S3. The journal keeps them all the same, as long as the space's retention says.
 *
 * A space remembers at which sequences it was switched, the first time to enabled: in its settings, so that copies of it
 * and backups tell the same. Pure.
 */
import type { Attributes } from "#hub/attributes.ts";
import type { SpaceSettings, Version } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";

/** Settings of doors: "Enabled" or "Suspended", none before the first of them; and where it was switched. */
export const VERSIONING = "s3.versioning";
const SWITCHED = "s3.versioning-switched";

/** How often a space can be switched with changes between. */
export const SWITCHES_MAX = 512;

/** "early": made before there was versioning. */
export type Naming = "own" | "early" | "suspended";

/** Sequences after `after` and up to `until`. */
export type NullRange = { readonly after: number; readonly until: number };

export class Versioning {
  /** The versions are shown: once they were, they stay so, also when versioning is suspended. */
  readonly isShown: boolean;
  readonly #switches: readonly number[];

  constructor(doors: Attributes | undefined) {
    this.isShown = doors?.[VERSIONING] !== undefined;
    this.#switches = switchesOf(doors);
  }

  /** @param name the sequence by which a version is known */
  namingOf(name: number): Naming {
    const passed = this.#switches.filter((sequence) => sequence < name).length;
    if (passed === 0) return "early";
    return passed % 2 === 1 ? "own" : "suspended";
  }

  /** What is made from now on is "null", and versions with numbers of their own may be there. */
  get isSuspended(): boolean {
    return this.#switches.length > 0 && this.#switches.length % 2 === 0;
  }

  isNull(name: number): boolean {
    return this.namingOf(name) !== "own";
  }

  /** Where "null" versions were made, the last range first. */
  nullRanges(): NullRange[] {
    const ranges: NullRange[] = [];
    const switches = this.#switches;
    for (let at = 0; at <= switches.length; at += 2) {
      ranges.unshift({ after: switches[at - 1] ?? 0, until: switches[at] ?? Number.MAX_SAFE_INTEGER });
    }
    return ranges.filter(({ after, until }) => after < until);
  }
}

/**
 * Whether the tombstone in its place is a delete marker: of a file, or of a delete marker that keeps a number of its own.
 * @param replaced undefined: nothing was there
 */
export function leavesMarker(replaced: Pick<Version, "entry"> | undefined): boolean {
  return replaced !== undefined && (replaced.entry === undefined || replaced.entry.kind === "file");
}

/** Spaces that were switched before this was noted go on with a number for each of their versions. */
function switchesOf(doors: Attributes | undefined): number[] {
  const text = doors?.[SWITCHED];
  if (text !== undefined && /^\d{1,16}(,\d{1,16})*$/.test(text)) return text.split(",").map(Number);
  return doors?.[VERSIONING] === undefined ? [] : [0];
}

/**
 * The settings that a space gets, with the switch noted if they are one.
 * @param sequence of the space, in the transaction that changes them @throws {SynclineError} DENIED where it cannot be switched again
 */
export function withSwitch(before: SpaceSettings, wanted: SpaceSettings, sequence: number): SpaceSettings {
  const status = wanted.doors?.[VERSIONING];
  if (status === undefined) return wanted;
  const switches = switchesOf(before.doors);
  const isOwn = switches.length % 2 === 1;
  if ((status === "Enabled") !== isOwn) {
    // Nothing was made since the last switch: it is taken back.
    if (switches.length >= 2 && switches.at(-1) === sequence) switches.pop();
    else switches.push(sequence);
  } else if (switches.length === 0) {
    switches.push(sequence, sequence);
  }
  if (switches.length > SWITCHES_MAX) throw tooManySwitches();
  return { ...wanted, doors: { ...wanted.doors, [SWITCHED]: switches.join(",") } };
}

function tooManySwitches(): SynclineError {
  return new SynclineError({
    code: "DENIED",
    op: "update space",
    message: `versioning was switched ${SWITCHES_MAX} times, which is as often as it can be`,
    hint: "leave versioning as it is, or copy what is there into a new space",
  });
}
