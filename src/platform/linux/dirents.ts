/** Lists an open directory with getdents64, decoding struct linux_dirent64 records from one reused buffer. */
import type { Pointer } from "bun:ffi";
import { decodeName } from "#model/path.ts";
import type { DirItem } from "#platform/file-system.ts";
import { heldAddress } from "#platform/held-address.ts";
import { type Libc, SEEK_SET, throwErrno } from "#platform/linux/libc.ts";

/** Bytes asked for at a time: some 3,000 names a call; larger ones were not faster. */
const LISTING_BYTES = 128 * 1024;
const TYPE_AT = 18;
const NAME_AT = 19;

/** By d_type; what is missing here is "unknown". */
const KINDS: readonly DirItem["kind"][] = (() => {
  const kinds: DirItem["kind"][] = Array.from({ length: 256 }, () => "unknown");
  kinds[1] = "fifo";
  kinds[2] = "char";
  kinds[4] = "dir";
  kinds[6] = "block";
  kinds[8] = "file";
  kinds[10] = "symlink";
  kinds[12] = "socket";
  return kinds;
})();

export class DirLister {
  readonly #libc: Libc;
  // Allocated with its own storage: a pooled Buffer would share it with others.
  readonly #bytes = Buffer.from(new ArrayBuffer(LISTING_BYTES));
  readonly #address: Pointer = heldAddress(this.#bytes);

  constructor(libc: Libc) {
    this.#libc = libc;
  }

  /** All items but "." and ".."; rewinds first, so a held directory can be listed again. */
  list(fd: number): DirItem[] {
    const libc = this.#libc;
    if (libc.lseek(fd, 0, SEEK_SET) < 0) throwErrno(libc, "list");
    const items: DirItem[] = [];
    for (;;) {
      let count: number;
      do count = libc.getdents64(fd, this.#address, LISTING_BYTES);
      while (libc.interrupted(count));
      if (count < 0) throwErrno(libc, "list");
      if (count === 0) return items;
      this.#decode(count, items);
    }
  }

  #decode(count: number, items: DirItem[]): void {
    const bytes = this.#bytes;
    for (let at = 0; at < count; at += bytes[at + 16]! | (bytes[at + 17]! << 8)) {
      const start = at + NAME_AT;
      let end = start;
      let high = 0;
      for (let byte = bytes[end]!; byte !== 0; byte = bytes[++end]!) high |= byte;
      const length = end - start;
      if (bytes[start] === 46 && (length === 1 || (length === 2 && bytes[start + 1] === 46))) continue;
      const name = high < 128 ? bytes.toString("latin1", start, end) : decodeName(bytes.subarray(start, end));
      items.push({ name, kind: KINDS[bytes[at + TYPE_AT]!]! });
    }
  }
}
