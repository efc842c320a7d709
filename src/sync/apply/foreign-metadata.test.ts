/** Owners of links, and attributes that are the system's own. */
import { expect, test } from "bun:test";
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import { SimPair, changesOf } from "#testing/scenarios/sim-pair.ts";

test("[META-1] attributes that are not carried stay when metadata is set", async () => {
  const pair = new SimPair({ session: { preserve: { ...PRESERVE_DEFAULT, xattrs: true } } });
  pair.alpha.put({ f: "one", "d/": "" });
  await pair.agree();
  const label = Uint8Array.of(1, 2);
  for (const path of ["f", "d"]) {
    pair.beta.disk.inodeAt(`/root/${path}`).xattrs = new Map([["security.selinux", label]]);
    pair.alpha.user.chmod(`/root/${path}`, 0o700);
  }
  await pair.agree();
  for (const path of ["f", "d"]) {
    const inode = pair.beta.disk.inodeAt(`/root/${path}`);
    expect([path, inode.mode.toString(8), [...inode.xattrs.keys()]]).toEqual([path, "700", ["security.selinux"]]);
  }
});

test("[META-2] the owner of a symlink is changed, not only noted", async () => {
  const pair = new SimPair({ session: { preserve: { ...PRESERVE_DEFAULT, owner: "number" } } });
  pair.alpha.user.symlink("/root/l", "target");
  await pair.agree();
  const link = pair.alpha.disk.inodeAt("/root/l");
  link.uid = 1000;
  pair.alpha.disk.touch(link, false);
  await pair.agree();
  expect(pair.beta.disk.inodeAt("/root/l").uid).toBe(1000);
  expect(changesOf(await pair.run())).toEqual([]);
});
