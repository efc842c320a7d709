/**
 * A link that stands still: something that it had shown was taken back, and it would be shown again at once if nobody
 * said otherwise. Kept in a small file of its own, so that it outlives the agent, and that the host's own command line
 * can make one while the agent runs.
 */
import { z } from "zod";
import { readPrivateFile, writePrivateFile } from "#platform/net/private-file.ts";
import { type LinkPause, RELEASE_NAME } from "#hub/agents/control.ts";

const REASON_CHARS_MAX = 1500;

const PAUSE = z.strictObject({
  reason: z.string(),
  by: z.string(),
  sinceMs: z.number(),
  release: z.string().regex(RELEASE_NAME).nullable(),
  /** Run of the root that is still to be taken back. */
  undo: z.string().regex(/^[0-9a-f]{12}$/).nullable(),
});
export type Pause = z.infer<typeof PAUSE>;

export class PauseFile {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** A file that cannot be understood pauses, too: somebody wanted something. Throws the system's error. */
  read(): Pause | undefined {
    const text = readPrivateFile(this.#path) ?? "";
    if (text === "") return undefined;
    try {
      return PAUSE.parse(JSON.parse(text));
    } catch {
      return { reason: `${this.#path} cannot be understood`, by: "unknown", sinceMs: 0, release: null, undo: null };
    }
  }

  /** It survives a power loss when this returns. Throws the system's error. */
  write(pause: Pause): void {
    const reason = pause.reason.slice(0, REASON_CHARS_MAX);
    writePrivateFile(this.#path, `${JSON.stringify({ ...pause, reason })}\n`);
  }

  /** Returns whether there was one. */
  clear(): boolean {
    if (this.read() === undefined) return false;
    writePrivateFile(this.#path, "");
    return true;
  }
}

/** As heartbeats tell it. */
export function shownPause({ reason, by, sinceMs, release }: Pause): LinkPause {
  return { reason: reason.slice(0, REASON_CHARS_MAX), by: by.slice(0, 200), sinceMs: Math.max(0, Math.round(sinceMs)), release };
}
