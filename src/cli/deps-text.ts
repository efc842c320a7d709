/** Dependencies of hosts, compared and as a person reads them. Pure. */
import { type Dependency, type DependencyDifference, differences } from "#hub/agents/dependencies.ts";
import { printablePath } from "#model/path.ts";
import type { Paint } from "#cli/screen.ts";

/** Differences of one set of hosts that are shown. */
const SHOWN_MAX = 200;

/** Hosts whose lists are the same. */
export type SameHosts = { readonly hosts: readonly string[]; readonly list: readonly Dependency[] };
export type Compared = { readonly hosts: readonly string[]; readonly differences: readonly DependencyDifference[] };

/** What each set of hosts has otherwise than the largest one; of equals that with the first host. */
export function compareHosts(sets: readonly SameHosts[]): { usual: readonly string[]; others: Compared[] } {
  const [usual, ...others] = sets.toSorted((a, b) => b.hosts.length - a.hosts.length || ((a.hosts[0] ?? "") < (b.hosts[0] ?? "") ? -1 : 1));
  if (usual === undefined) return { usual: [], others: [] };
  return { usual: usual.hosts, others: others.map(({ hosts, list }) => ({ hosts, differences: differences(usual.list, list) })) };
}

/** "web1, web3, web7-web9": as names, numbers at their ends folded. */
export function foldHosts(hosts: readonly string[]): string {
  const parts = hosts.toSorted((a, b) => a.localeCompare(b, "en", { numeric: true })).map((host) => /^(.*?)(\d*)$/.exec(host)!);
  const folded: string[] = [];
  for (let at = 0; at < parts.length; ) {
    const [first, head = "", digits = ""] = parts[at]!;
    let end = at;
    const isNext = (next: RegExpExecArray | undefined): boolean =>
      digits !== "" && next?.[1] === head && next[2] === String(Number(digits) + end - at + 1).padStart(digits.length, "0");
    while (isNext(parts[end + 1])) end++;
    folded.push(end - at < 2 ? first : `${head}[${digits}-${parts[end]![2]}]`);
    at = end - at < 2 ? at + 1 : end + 1;
  }
  return folded.join(", ");
}

const WORDS = { missing: "missing", extra: "extra", version: "version", integrity: "content" } as const;

export function differenceLines({ hosts, differences: all }: Compared, usual: readonly string[], paint: Paint): string[] {
  const lines = [`  ${paint.bold(foldHosts(hosts))} against ${foldHosts(usual)}`];
  for (const { kind, name, usual: one, found } of all.slice(0, SHOWN_MAX)) {
    const what = kind === "missing" ? one : kind === "extra" ? found : `${found}, usually ${one}`;
    lines.push(`    ${paint.yellow(WORDS[kind].padEnd(8))} ${printablePath(name)} ${paint.dim(printablePath(what))}`);
  }
  if (all.length > SHOWN_MAX) lines.push(`    and ${all.length - SHOWN_MAX} more`);
  if (all.length === 0) lines.push("    the same");
  return lines;
}
