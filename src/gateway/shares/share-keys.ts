/** What a browser keeps once it was told the password of a share: a sealed word of ours, for this share and password. */
import type { HubAccess } from "#access/hub-access.ts";
import type { Share } from "#hub/shares/share.ts";
import type { Clock } from "#platform/host.ts";

/** How long a browser is not asked again. */
export const KEY_MS = 12 * 3_600_000;
const COOKIE_CHARS_MAX = 16 << 10;

export class ShareKeys {
  readonly #access: HubAccess;
  readonly #clock: Clock;

  constructor(access: HubAccess, clock: Clock) {
    this.#access = access;
    this.#clock = clock;
  }

  /** The value of Set-Cookie. @param root the only path that the browser sends it to */
  cookie(share: Share, root: string, isSecure: boolean): string {
    const untilMs = this.#clock.nowMs() + KEY_MS;
    const mark = this.#access.seal.mark(textOf(share, untilMs)).toBase64({ alphabet: "base64url", omitPadding: true });
    const parts = [`${nameOf(share, isSecure)}=${untilMs}.${mark}`, `Path=${root}`, "HttpOnly", "SameSite=Lax", `Max-Age=${KEY_MS / 1000}`];
    return [...parts, ...(isSecure ? ["Secure"] : [])].join("; ");
  }

  opens(share: Share, headers: Headers, isSecure: boolean): boolean {
    const header = headers.get("cookie");
    if (header === null || header.length > COOKIE_CHARS_MAX) return false;
    const head = `${nameOf(share, isSecure)}=`;
    const value = header.split(";").map((one) => one.trim()).find((one) => one.startsWith(head))?.slice(head.length);
    const match = /^(\d{1,16})\.([\w-]{43})$/.exec(value ?? "");
    if (match === null || Number(match[1]) <= this.#clock.nowMs()) return false;
    return this.#access.seal.isMark(Uint8Array.fromBase64(match[2]!, { alphabet: "base64url" }), textOf(share, Number(match[1])));
  }
}

const nameOf = ({ id }: Share, isSecure: boolean): string => `${isSecure ? "__Secure-" : ""}syncline-share-${id}`;

/** Another password makes another word. */
const textOf = ({ id, password }: Share, untilMs: number): string => `share\0${id}\0${password ?? ""}\0${untilMs}`;
