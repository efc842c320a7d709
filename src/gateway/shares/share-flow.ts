/** Bytes that go through shares: counted for the share, and few enough at a time that nobody's own work waits for it. */
import type { Shares } from "#hub/shares/shares.ts";
import type { Share } from "#hub/shares/share.ts";
import { ApiProblem } from "#gateway/api/problem.ts";
import type { Flow, Traffic } from "#gateway/api/traffic.ts";

/** Long answers and long uploads of one share at a time. */
export const SHARE_DOWNLOADS_MAX = 32;
export const SHARE_UPLOADS_MAX = 4;

type Kind = "downloads" | "uploads";

export class ShareFlows {
  readonly #shares: Shares;
  readonly #traffic: Traffic;
  readonly #places = { downloads: new Map<string, number>(), uploads: new Map<string, number>() };
  readonly #onTrouble: (error: unknown) => void;

  constructor(shares: Shares, traffic: Traffic, onTrouble: (error: unknown) => void) {
    this.#shares = shares;
    this.#traffic = traffic;
    this.#onTrouble = onTrouble;
  }

  /**
   * For one answer. `settle` is called by who has made it: what was sent is written down then, or when a body that is
   * still to be sent has ended. @param onEnd is told how many bytes were sent
   */
  open(share: Share, onEnd: (bytes: number) => void): Flow & { readonly settle: () => void } {
    let bytes = 0;
    let isHeld = false;
    const end = (): void => {
      onEnd(bytes);
      if (bytes > 0) this.#shares.sent(share, bytes).catch(this.#onTrouble);
    };
    return {
      count: (direction, count) => {
        this.#traffic.count(direction, count);
        if (direction === "out") bytes += count;
      },
      upload: () => this.#place("uploads", share.id, SHARE_UPLOADS_MAX, this.#traffic.upload.bind(this.#traffic), () => undefined),
      download: () => {
        const place = this.#place("downloads", share.id, SHARE_DOWNLOADS_MAX, this.#traffic.download.bind(this.#traffic), end);
        isHeld = true;
        return place;
      },
      settle: () => {
        if (!isHeld) end();
      },
    };
  }

  #place(kind: Kind, id: string, most: number, take: () => Disposable, onEnd: () => void): Disposable {
    const places = this.#places[kind];
    const count = places.get(id) ?? 0;
    if (count >= most) throw new ApiProblem("BUSY", `${most} ${kind} of this share are at work`);
    const place = take();
    places.set(id, count + 1);
    let isHeld = true;
    return {
      [Symbol.dispose]: () => {
        if (!isHeld) return;
        isHeld = false;
        place[Symbol.dispose]();
        const left = places.get(id)! - 1;
        if (left === 0) places.delete(id);
        else places.set(id, left);
        onEnd();
      },
    };
  }
}
