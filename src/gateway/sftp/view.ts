/** How entries look to a client: attributes, and the line that `ls -l` shows. */
import type { Entry } from "#model/entry.ts";
import { encodeName } from "#model/path.ts";
import type { Node } from "#gateway/sftp/tree.ts";
import { KIND_BITS } from "#platform/kind-bits.ts";
import type { ShownAttrs } from "#platform/net/sftp-wire.ts";

const KIND_LETTERS: Record<Entry["kind"], string> = { file: "-", dir: "d", symlink: "l", other: "?" };
const LINK_MODE = 0o777;
const SECONDS_MAX = 2 ** 32 - 1;
const HALF_YEAR_MS = 182 * 86_400_000;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** The protocol counts unsigned seconds of 32 bits. */
export function secondsOf(ns: bigint): number {
  return Math.min(SECONDS_MAX, Math.max(0, Number(ns / 1_000_000_000n)));
}

/** A space keeps no owner unless an agent told one, and no times of directories: what is not known is not told. */
export function attrsOf({ entry, createdMs }: Pick<Node, "entry" | "createdMs">): ShownAttrs {
  const permissions = entry.kind === "file" || entry.kind === "dir" ? entry.mode : LINK_MODE;
  const owner = entry.kind === "other" || entry.owner === undefined ? undefined : entry.owner;
  const size = entry.kind === "file" ? entry.size : entry.kind === "symlink" ? encodeName(entry.target).length : 0;
  const made = createdMs === undefined ? undefined : Math.floor(createdMs / 1000);
  const mtimeSeconds = entry.kind === "file" ? secondsOf(entry.mtimeNs) : made;
  return { size, owner, mode: (entry.kind === "other" ? 0 : KIND_BITS[entry.kind]) | permissions, mtimeSeconds };
}

function permissionText(mode: number): string {
  return [6, 3, 0].map((shift) => {
    const bits = (mode >> shift) & 7;
    return `${bits & 4 ? "r" : "-"}${bits & 2 ? "w" : "-"}${bits & 1 ? "x" : "-"}`;
  }).join("");
}

/** A line as `ls -l` prints it. */
export function longName(name: string, node: Node, nowMs: number): string {
  const { size, owner, mode, mtimeSeconds } = attrsOf(node);
  const { entry } = node;
  const named = entry.kind === "other" ? undefined : entry.owner;
  const user = named?.user ?? String(owner?.uid ?? "-");
  const group = named?.group ?? String(owner?.gid ?? "-");
  const time = timeText((mtimeSeconds ?? 0) * 1000, nowMs);
  const kind = KIND_LETTERS[entry.kind];
  return `${kind}${permissionText(mode)}    1 ${user.padEnd(8)} ${group.padEnd(8)} ${String(size).padStart(8)} ${time} ${name}`;
}

function timeText(ms: number, nowMs: number): string {
  const date = new Date(ms);
  const day = `${MONTHS[date.getUTCMonth()]} ${String(date.getUTCDate()).padStart(2)}`;
  const isNear = ms <= nowMs + HALF_YEAR_MS && ms > nowMs - HALF_YEAR_MS;
  return isNear ? `${day} ${date.toISOString().slice(11, 16)}` : `${day}  ${date.getUTCFullYear()}`;
}
