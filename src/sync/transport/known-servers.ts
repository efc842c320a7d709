/**
 * Certificates that were trusted on first use: a text file with one "host:port SHA256:hex" a line, which a person may
 * read and edit. Lines that start with "#" are kept.
 */
import { SynclineError } from "#model/error.ts";
import { readPrivateFile, writePrivateFile } from "#platform/net/private-file.ts";

const FILE_NAME = "known_servers";
const FINGERPRINT = /^SHA256:[0-9a-f]{64}$/;

/** Accepts "SHA256:" in any case, with or without colons, and returns the one form used here. Throws USAGE. */
export function parseFingerprint(text: string): string {
  const hex = text.trim().replace(/^sha-?256[:=]/i, "").replaceAll(":", "").toLowerCase();
  const fingerprint = `SHA256:${hex}`;
  if (FINGERPRINT.test(fingerprint)) return fingerprint;
  throw new SynclineError({
    code: "USAGE",
    op: "read fingerprint",
    message: `"${text}" is not a SHA-256 fingerprint`,
    hint: "copy it from the first line that `syncline serve` prints: SHA256: and 64 hex digits",
  });
}

export class KnownServers {
  readonly path: string;

  constructor(stateDir: string) {
    this.path = `${stateDir}/${FILE_NAME}`;
  }

  /** The pinned fingerprint of "host:port", or undefined for a server never met. */
  find(server: string): string | undefined {
    for (const line of this.#lines()) {
      const [name, fingerprint] = line.trim().split(/\s+/);
      if (name !== server || fingerprint === undefined) continue;
      if (FINGERPRINT.test(fingerprint)) return fingerprint;
      throw this.#broken(`the line of ${server} holds no fingerprint`, undefined);
    }
    return undefined;
  }

  /** Pins a server, replacing what was pinned for it before. */
  add(server: string, fingerprint: string): void {
    const kept = this.#lines().filter((line) => line.trim().split(/\s+/)[0] !== server);
    try {
      writePrivateFile(this.path, `${[...kept, `${server} ${fingerprint}`].join("\n")}\n`);
    } catch (error) {
      throw this.#broken("it cannot be written", error);
    }
  }

  #lines(): string[] {
    try {
      return (readPrivateFile(this.path) ?? "").split("\n").filter((line) => line.trim() !== "");
    } catch (error) {
      throw this.#broken("it cannot be read", error);
    }
  }

  #broken(why: string, cause: unknown): SynclineError {
    const message = `the list of known servers cannot be used: ${why}`;
    return new SynclineError({ code: "STATE", op: "check server", path: this.path, message, cause });
  }
}
