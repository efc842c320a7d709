/** What kind of file system holds a descriptor, how full it is, and what such a one can usually store. */
import type { FileSystemAbilities } from "#platform/file-system.ts";
import { heldAddress } from "#platform/held-address.ts";
import { type Libc, throwErrno } from "#platform/linux/libc.ts";

/** Magic numbers of statfs(2). */
const TYPES: Record<number, string> = {
  0xef53: "ext4",
  0x58465342: "xfs",
  0x9123683e: "btrfs",
  0xf2f52010: "f2fs",
  0x2fc12fc1: "zfs",
  0xca451a4e: "bcachefs",
  0x01021994: "tmpfs",
  0x858458f6: "ramfs",
  0x794c7630: "overlay",
  0x6969: "nfs",
  0x517b: "smb",
  0xff534d42: "cifs",
  0xfe534d42: "smb2",
  0x01021997: "9p",
  0x6a656a63: "virtiofs",
  0x65735546: "fuse",
  0x00c36400: "ceph",
  0x4d44: "vfat",
  0x2011bab0: "exfat",
  0x5346544e: "ntfs",
  0x7366746e: "ntfs3",
  0x482b: "hfsplus",
};

/** Stores without POSIX owners, modes and links, and the granularity of their times. */
const SIMPLE_TYPES: Record<string, bigint> = { vfat: 2_000_000_000n, exfat: 10_000_000n };

// struct statfs of the 64-bit architectures is all 8-byte fields, up to f_fsid.
const fields = new BigUint64Array(16);
const fieldsAddress = heldAddress(fields);

export function spaceOf(
  libc: Libc,
  fd: number,
): { freeBytes: number; totalBytes: number; freeInodes: number; type: string } {
  let result: number;
  do result = libc.fstatfs(fd, fieldsAddress);
  while (libc.interrupted(result));
  if (result < 0) throwErrno(libc, "space");
  const magic = Number(fields[0]! & 0xffff_ffffn);
  const blockBytes = Number(fields[9] === 0n ? fields[1]! : fields[9]!);
  return {
    freeBytes: Number(fields[4]!) * blockBytes,
    totalBytes: Number(fields[2]!) * blockBytes,
    // btrfs and others make inodes as they need them and say 0 of 0.
    freeInodes: fields[5] === 0n ? Number.MAX_SAFE_INTEGER : Number(fields[6]!),
    type: TYPES[magic] ?? `0x${magic.toString(16)}`,
  };
}

/** What is likely, for when the directory must not be written to. */
export function assumeAbilities(type: string): FileSystemAbilities {
  const simpleGranularity = SIMPLE_TYPES[type];
  const posix = simpleGranularity === undefined;
  return {
    timestampNs: simpleGranularity ?? 1n,
    symlinks: posix,
    hardlinks: posix,
    xattrs: posix && type !== "nfs",
    owners: posix && process.geteuid?.() === 0,
    modes: posix,
    caseSensitive: posix,
    confined: true,
  };
}
