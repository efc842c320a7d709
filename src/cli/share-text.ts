/** Shares as a person reads them. Pure. */
import type { ShareJson } from "#gateway/api/routes-shares.ts";
import { printablePath } from "#model/path.ts";
import { expiry } from "#cli/expiry.ts";
import { formatAgo, formatBytes, plural, tableLines } from "#cli/format.ts";
import type { Paint } from "#cli/screen.ts";

const KINDS = { read: "to read", upload: "to put files", both: "to read and put files" } as const;

const placeOf = ({ path }: ShareJson): string => (path === "" ? "the whole space" : printablePath(path));

function stateOf({ state, user }: ShareJson, paint: Paint): string {
  if (state === "open") return paint.green("open");
  if (state === "dead") return paint.red(`dead: ${printablePath(user)} may not any more`);
  return paint.dim(state === "over" ? "over" : "used up");
}

/** What it lets others do, on one line. */
export function shareWords(share: ShareJson): string {
  const { kind, downloadsMax, password, expires } = share;
  const limits = [
    ...(downloadsMax === undefined ? [] : [plural(downloadsMax, "download")]),
    ...(password ? ["with a password"] : []),
    expiry(expires),
  ];
  return `${KINDS[kind]}: ${placeOf(share)}, ${limits.join(", ")}`;
}

export function shareLines(shares: readonly ShareJson[], paint: Paint): string[] {
  return tableLines(shares.map((share) => [share.id, stateOf(share, paint), usesOf(share), shareWords(share), printablePath(share.note)]));
}

function usesOf({ kind, downloads, downloadsMax, uploads }: ShareJson): string {
  const down = `${downloads}${downloadsMax === undefined ? "" : ` of ${downloadsMax}`} ↓`;
  if (kind === "read") return down;
  return kind === "upload" ? `${uploads} ↑` : `${down} ${uploads} ↑`;
}

/** @param nowMs wall clock */
export function shareFacts(share: ShareJson, nowMs: number, paint: Paint): string[] {
  const { id, note, user, created, used, downloads, uploads, bytesOut, bytesIn } = share;
  const ago = (time: string): string => formatAgo(Math.max(0, nowMs - Date.parse(time)));
  return tableLines([
    ["share", paint.bold(id)],
    ["state", stateOf(share, paint)],
    ["lets others", shareWords(share)],
    ...(note === "" ? [] : [["note", printablePath(note)]]),
    ["downloads", `${downloads}, ${formatBytes(bytesOut)}`],
    ["uploads", `${uploads}, ${formatBytes(bytesIn)}`],
    ["last used", used === undefined ? "never" : ago(used)],
    ["made", `${ago(created)} by ${printablePath(user)}`],
  ]);
}
