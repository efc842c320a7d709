/** The programs that we are compared with: how to find them, and what to install where one is missing. */
import { helper } from "./processes.ts";

export type PeerName = "rsync" | "lsyncd" | "syncthing" | "vsftpd";

/** `debian`: the package that has the command. */
const PEERS: Record<PeerName, { readonly debian: string; readonly version: readonly string[] }> = {
  rsync: { debian: "rsync", version: ["rsync", "--version"] },
  lsyncd: { debian: "lsyncd", version: ["lsyncd", "--version"] },
  syncthing: { debian: "syncthing", version: ["syncthing", "--version"] },
  vsftpd: { debian: "vsftpd", version: ["sh", "-c", "vsftpd -version 0>&1"] },
};

/** @throws when one is not installed, naming what to install */
export function requirePeers(names: Iterable<PeerName>): void {
  const missing = [...new Set(names)].filter((name) => Bun.which(name) === null);
  if (missing.length === 0) return;
  const packages = missing.map((name) => PEERS[name].debian).join(" ");
  throw new Error(`${missing.join(", ")} not found\nhint: apt-get install ${packages}`);
}

/** First line of what each installed peer says of its version. */
export function peerVersions(): Record<string, string> {
  const found = Object.entries(PEERS).filter(([name]) => Bun.which(name) !== null);
  return Object.fromEntries(found.map(([name, { version }]) => [name, helper(...version).split("\n")[0] ?? ""]));
}
