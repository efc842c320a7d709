/** Extended attributes of an open file or directory. */
import type { Pointer } from "bun:ffi";
import { decodeName } from "#model/path.ts";
import { FsError } from "#platform/file-system.ts";
import { heldAddress } from "#platform/held-address.ts";
import { type Libc, errnoName, throwErrno } from "#platform/linux/libc.ts";
import type { NameBuffer } from "#platform/linux/name-buffer.ts";

/** XATTR_SIZE_MAX and XATTR_LIST_MAX of the kernel: neither a value nor the list of names can be larger. */
const XATTR_BYTES_MAX = 64 * 1024;

export class Xattrs {
  readonly #libc: Libc;
  readonly #name: NameBuffer;
  readonly #list = new Uint8Array(XATTR_BYTES_MAX);
  readonly #value = new Uint8Array(XATTR_BYTES_MAX);
  readonly #listAddress: Pointer = heldAddress(this.#list);
  readonly #valueAddress: Pointer = heldAddress(this.#value);

  constructor(libc: Libc, name: NameBuffer) {
    this.#libc = libc;
    this.#name = name;
  }

  /** Every attribute this process may see, of all namespaces, in the system's order. */
  get(fd: number): [name: string, value: Uint8Array][] {
    const libc = this.#libc;
    let listed: number;
    do listed = libc.flistxattr(fd, this.#listAddress, XATTR_BYTES_MAX);
    while (libc.interrupted(listed));
    if (listed < 0) throwErrno(libc, "list attributes");
    const found: [string, Uint8Array][] = [];
    for (let at = 0; at < listed; ) {
      const end = this.#list.indexOf(0, at);
      const name = decodeName(this.#list.subarray(at, end));
      at = end + 1;
      this.#name.putText(name, "read attribute");
      let size: number;
      do size = libc.fgetxattr(fd, this.#name.address, this.#valueAddress, XATTR_BYTES_MAX);
      while (libc.interrupted(size));
      if (size >= 0) found.push([name, this.#value.slice(0, size)]);
      // Another process removed it after the names were listed.
      else if (errnoName(libc.errno()) !== "ENODATA") throwErrno(libc, "read attribute", name);
    }
    return found;
  }

  set(fd: number, name: string, value: Uint8Array): void {
    if (value.length > XATTR_BYTES_MAX) throw new FsError("E2BIG", "set attribute", name);
    const libc = this.#libc;
    this.#name.putText(name, "set attribute");
    this.#value.set(value);
    let result: number;
    do result = libc.fsetxattr(fd, this.#name.address, this.#valueAddress, value.length, 0);
    while (libc.interrupted(result));
    if (result < 0) throwErrno(libc, "set attribute", name);
  }

  remove(fd: number, name: string): void {
    const libc = this.#libc;
    this.#name.putText(name, "remove attribute");
    let result: number;
    do result = libc.fremovexattr(fd, this.#name.address);
    while (libc.interrupted(result));
    if (result < 0) throwErrno(libc, "remove attribute", name);
  }
}
