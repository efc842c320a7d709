/** What a foreign system cannot carry: left out of the session, and said. */
import type { Preserve } from "#model/entry.ts";
import type { Abilities } from "#sync/foreign/foreign-files.ts";

/** What of `preserve` a pair with this side can carry at all. */
export function narrowed(preserve: Preserve, abilities: Abilities, writable: boolean): Preserve {
  const { modes, symlinks } = abilities;
  return {
    ...preserve,
    mode: preserve.mode && modes,
    mtime: preserve.mtime && carriesTimes(abilities, writable),
    owner: "none",
    xattrs: false,
    hardlinks: false,
    symlinks: preserve.symlinks && symlinks,
  };
}

/** What is told no time would come from there as of 1970; a side that is only read need not keep times, too. */
function carriesTimes({ setsTimes, timeResolutionNs }: Abilities, writable: boolean): boolean {
  return timeResolutionNs > 0n && (setsTimes || !writable);
}

/** For people, each once: what is missing there and what follows from it. */
export function foreignNotes(abilities: Abilities, writable: boolean): string[] {
  const { system, timeResolutionNs, modes, symlinks, renames, keeps, conditional } = abilities;
  const notes: string[] = [];
  const lacks = [
    ...(modes ? [] : ["permissions"]),
    ...(symlinks ? [] : ["symlinks"]),
    ...(carriesTimes(abilities, writable) ? [] : ["modification times"]),
  ];
  if (lacks.length > 0) notes.push(`${system} does not carry ${listed(lacks)} here: left out on both sides`);
  if (timeResolutionNs === 0n) {
    notes.push(`${system} tells no times here: an edit that keeps a file's size may be seen only with --rescan`);
  }
  if (!writable) return notes;
  if (!keeps) notes.push(`${system} cannot keep what is replaced or removed here: undo does not bring it back on this side`);
  if (renames !== "atomic") notes.push(`${system} has no atomic rename here: what is moved is copied file by file`);
  if (!conditional) {
    notes.push(`${system} cannot check and change in one step here: an edit in the very moment of a change can be overwritten`);
  }
  return notes;
}

function listed(words: readonly string[]): string {
  return words.length === 1 ? words[0]! : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}
