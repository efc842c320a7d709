/**
 * What counts as agreed must outlive a power loss on either side: the entry's kind, a file's content, a symlink's target.
 * Left out are, as in the product, removals and metadata (ARCHITECTURE, Source side).
 */
import type { RelPath } from "#model/path.ts";
import { SessionState } from "#sync/session/state.ts";
import type { Inode } from "#testing/sim-inode.ts";
import { viewOf } from "#testing/sim-oracle.ts";
import { type LinkSpec, type Replica, sessionIdOf } from "#testing/sim-world.ts";

/** What a side held, by path. */
export type Agreed = ReadonlyMap<RelPath, string>;

function held({ kind, content, target }: Inode): string {
  if (content !== undefined) return `file ${content.digest()}`;
  return kind === "symlink" ? `symlink ${target}` : kind;
}

/** What the controller of a link remembers as agreed, as far as both sides have it. No session may be under way. */
export function agreedOf(link: LinkSpec): Agreed {
  const boot = link.alpha.host.boot();
  const store = link.alpha.store(`session ${sessionIdOf(link)}`, boot);
  const known = [...new SessionState(store, boot.random).ancestor.walk("")];
  store.close();
  link.alpha.kill(boot);
  const [alpha, beta] = [viewOf(link.alpha), viewOf(link.beta)];
  const agreed = new Map<RelPath, string>();
  for (const [path, { kind }] of known) {
    const [mine, theirs] = [alpha.get(path), beta.get(path)];
    if (mine === undefined || theirs === undefined || mine.kind !== kind || held(mine) !== held(theirs)) continue;
    agreed.set(path, held(mine));
  }
  return agreed;
}

/** What of it a side does not have any more, or undefined. */
export function missing(agreed: Agreed, replica: Replica): string | undefined {
  const view = viewOf(replica);
  for (const [path, text] of agreed) {
    const inode = view.get(path);
    const now = inode === undefined ? "nothing" : held(inode);
    if (now !== text) return `agreed, but not durable on ${replica.name} at ${path}: was ${text}, is ${now}`;
  }
  return undefined;
}
