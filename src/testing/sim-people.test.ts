import { describe, expect, test } from "bun:test";
import { SimClock } from "#testing/sim-clock.ts";
import type { SimFs } from "#testing/sim-fs.ts";
import { SimLink } from "#testing/sim-link.ts";
import { viewOf } from "#testing/sim-oracle.ts";
import { Ledger, Person } from "#testing/sim-people.ts";
import { SimRandom } from "#testing/sim-random.ts";
import type { SimSession } from "#testing/sim-session.ts";
import { SimTrace } from "#testing/sim-trace.ts";
import { Replica } from "#testing/sim-world.ts";

/** One of a hundred acts is a rewrite under the old size and time. */
const PEOPLE = 1500;

/** What a session calls around the act of a person: before it, and as the very next. */
type Calls = { readonly before: (fs: SimFs) => void; readonly next: (fs: SimFs) => void };

/** How often a rewrite under the old size and time is one that no look can tell, of how many. */
function hidden({ before, next }: Calls): [hidden: number, masked: number] {
  let [count, masked] = [0, 0];
  for (let seed = 1; seed <= PEOPLE; seed++) {
    const clock = new SimClock();
    const replica = new Replica("A", clock, new SimRandom(seed), {});
    const person = new Person(replica, new SimRandom(seed), new Ledger(new SimTrace()), clock, { ignores: false, links: false });
    person.aim = "/root/f";
    replica.host.user.write("/root/f", "twelve bytes");
    const inode = viewOf(replica).get("f")!;
    const { mtimeNs } = inode;
    const old = inode.content!.digest();
    const { fs } = replica.host.boot();
    let done: (() => void) | undefined;
    before(fs);
    fs.interleave = () => {
      done?.();
      done ??= person.interrupt();
    };
    try {
      next(fs);
      fs.stat(fs.openRoot("/"), "root");
    } catch {
      // The person took it away.
    }
    if (inode.mtimeNs !== mtimeNs || inode.content!.digest() === old || inode.links.length === 0) continue;
    masked++;
    if (person.hides(inode)) count++;
  }
  return [count, masked];
}

describe("a rewrite under the old size and time", () => {
  const look = (fs: SimFs): void => void fs.stat(fs.openRoot("/root"), "f");
  const chmod = (fs: SimFs): void => fs.chmod(fs.openRead(fs.openRoot("/root"), "f"), 0o600);

  test("[SIM-75] is hidden by the very call that moves the ctime, and before the look after such a call", () => {
    const dirs = new Map<SimFs, ReturnType<SimFs["openRead"]>>();
    const open = (fs: SimFs): void => void dirs.set(fs, fs.openRead(fs.openRoot("/root"), "f"));
    for (const calls of [
      { before: open, next: (fs: SimFs) => fs.chmod(dirs.get(fs)!, 0o600) },
      { before: chmod, next: (fs: SimFs) => void fs.openRoot("/root") },
    ]) {
      const [count, masked] = hidden(calls);
      expect(masked).toBeGreaterThan(5);
      expect(count).toBe(masked);
    }
  });

  test("[SIM-75] is not between other calls", () => {
    const [count, masked] = hidden({ before: look, next: (fs) => void fs.openRoot("/root") });
    expect(masked).toBeGreaterThan(5);
    expect(count).toBe(0);
  });
});

test("[SIM-77] a session tells of the names and modes that it gives: they explain a ctime to another (life 7300085 of three)", async () => {
  const pair = new SimLink();
  const { user } = pair.link.alpha.host;
  for (const name of ["mode", "name", "none"]) user.write(`/root/${name}`, name);
  const altered: string[] = [];
  const tell = (session: SimSession): void => {
    session.onAltered = (side, path) => altered.push(`${side} ${path}`);
  };
  await pair.session(tell);
  user.chmod("/root/mode", 0o600);
  user.rename("/root/name", "/root/new");
  user.write("/root/none", "more");
  await pair.session(tell);
  expect(altered.sort()).toEqual(["beta mode", "beta new"]);
});

test("[SIM-82] a copy of such a rewrite looks damaged where its inode has the number of an earlier one (life 151002136 of three)", () => {
  let masked = 0;
  for (let seed = 1; seed <= PEOPLE; seed++) {
    const clock = new SimClock();
    const ledger = new Ledger(new SimTrace());
    const people = ["A", "B"].map((name) => {
      const replica = new Replica(name, clock, new SimRandom(seed), {});
      return { replica, person: new Person(replica, new SimRandom(seed), ledger, clock, { ignores: false, links: false }) };
    });
    const [here, there] = people as [(typeof people)[0], (typeof people)[0]];
    here.replica.host.user.write("/root/f", "twelve bytes");
    here.person.aim = "/root/f";
    const { mtimeNs } = viewOf(here.replica).get("f")!;
    here.person.act();
    const inode = viewOf(here.replica).get("f");
    if (inode?.mtimeNs !== mtimeNs || !ledger.made.has(inode.content!.digest())) continue;
    const bytes = inode.content!.toBytes();
    masked++;
    const { user, disk } = there.replica.host;
    user.write("/root/new", bytes);
    user.write("/root/gone", "gone");
    user.remove("/root/gone");
    disk.settle();
    user.write("/root/again", bytes);
    user.write("/root/gone", "gone");
    const view = viewOf(there.replica);
    expect(["new", "again", "gone"].map((name) => there.person.mayLookDamaged(view.get(name)))).toEqual([false, true, false]);
  }
  expect(masked).toBeGreaterThan(5);
});
