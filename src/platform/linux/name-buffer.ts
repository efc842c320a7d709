/** NUL-terminated names for system calls, encoded into one reused buffer. */
import type { Pointer } from "bun:ffi";
import { PATH_BYTES_MAX, encodeName } from "#model/path.ts";
import { FsError } from "#platform/file-system.ts";
import { heldAddress } from "#platform/held-address.ts";

/** Held by whoever passes `address` to the kernel; a put() overwrites the text before it. */
export class NameBuffer {
  readonly #bytes = new Uint8Array(PATH_BYTES_MAX + 1);
  readonly address: Pointer = heldAddress(this.#bytes);

  /** Puts one component. Throws EINVAL for what could name anything but an item of the held directory. */
  putName(name: string, call: string): void {
    const bytes = this.#bytes;
    const length = name.length;
    if (length === 0) throw new FsError("EINVAL", call, name);
    if (length > PATH_BYTES_MAX) throw new FsError("ENAMETOOLONG", call, name);
    let at = 0;
    for (; at < length; at++) {
      const code = name.charCodeAt(at);
      if (code === 0 || code === 47) throw new FsError("EINVAL", call, name);
      if (code >= 128) break;
      bytes[at] = code;
    }
    if (at < length) {
      if (name.includes("/")) throw new FsError("EINVAL", call, name);
      this.putText(name, call);
      return;
    }
    bytes[length] = 0;
    if (length <= 2 && (name === "." || name === "..")) throw new FsError("EINVAL", call, name);
  }

  /** Puts any text without NUL: a symlink's target, an operator's path, an attribute's name. */
  putText(text: string, call: string): void {
    if (text.includes("\0")) throw new FsError("EINVAL", call, text);
    const encoded = encodeName(text);
    if (encoded.length > PATH_BYTES_MAX) throw new FsError("ENAMETOOLONG", call, text);
    this.#bytes.set(encoded);
    this.#bytes[encoded.length] = 0;
  }
}
