/** What a side of a pair is, from how a person writes it. Pure. */
import { SynclineError } from "#model/error.ts";

/** The port of `syncline serve` where none is named. */
export const PORT_DEFAULT = 7820;

export type SideAddress =
  | { readonly kind: "local"; readonly path: string }
  | {
      readonly kind: "ssh";
      readonly host: string;
      readonly user: string | undefined;
      readonly port: number | undefined;
      readonly path: string;
    }
  | {
      readonly kind: "tls";
      readonly host: string;
      readonly port: number;
      /** Name of the served root, with "/sub/path" behind it or not. */
      readonly root: string;
    };

/**
 * Reads `PATH`, `ssh://[user@]host[:port]/path` or `syncline://host[:port]/NAME[/sub]`. Nothing is decoded: the path is
 * taken as it stands, and an IPv6 address stands in brackets.
 *
 * @throws {SynclineError} USAGE; the hint shows the right form
 */
export function parseSide(text: string): SideAddress {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]?.toLowerCase();
  if (scheme === undefined) return parseLocal(text);
  if (scheme !== "ssh" && scheme !== "syncline") {
    throw wrong(
      `"${scheme}://" is no kind of side`,
      "a side is a directory, ssh://[user@]host/path or syncline://host:port/NAME",
    );
  }
  const match = /^(?:([^@/]+)@)?(\[[0-9a-fA-F:.%]+\]|[^:/@[\]]+)(?::(\d{1,5}))?(\/.*)?$/.exec(
    text.slice(scheme.length + 3),
  );
  const form = scheme === "ssh" ? "ssh://[user@]host[:port]/path" : "syncline://host:port/NAME[/sub]";
  if (match === null) throw wrong(`"${text}" is no address`, `write ${form}`);
  const [, user, bracketed, portText, path = ""] = match;
  const host = bracketed!.replace(/^\[|\]$/g, "");
  const port = portText === undefined ? undefined : Number(portText);
  if (port !== undefined && (port < 1 || port > 65_535))
    throw wrong(`"${text}": there is no port ${portText}`, `write ${form}`);
  // A host or user that begins with "-" would be read as an option by ssh.
  if (host.startsWith("-") || user?.startsWith("-") === true)
    throw wrong(`"${text}" is no address`, `write ${form}`);
  if (scheme === "ssh") {
    if (path === "" || path === "/")
      throw wrong(`"${text}" names no directory`, `write ${form}; the path is absolute`);
    return { kind: "ssh", host, user, port, path };
  }
  const root = path.replace(/^\/+|\/+$/g, "");
  if (root === "")
    throw wrong(`"${text}" names no root`, `write ${form}; the server's --root says the names`);
  if (user !== undefined)
    throw wrong(`"${text}": there are no users here`, "the server knows tokens: --token-file FILE");
  return { kind: "tls", host, port: port ?? PORT_DEFAULT, root };
}

function parseLocal(text: string): SideAddress {
  if (text === "") throw wrong("a side is empty", "name a directory; is a variable unset?");
  // What rsync and scp would take for a host is hardly meant as a file name.
  const remote = /^([\w.-]+@[\w.-]+):(.+)$/.exec(text);
  if (remote !== null) {
    const path = remote[2]!.startsWith("/") ? remote[2]! : `/home/…/${remote[2]!}`;
    throw wrong(
      `"${text}" looks like a directory on another host`,
      `write ssh://${remote[1]}${path}, or ./${text} for a local one`,
    );
  }
  return { kind: "local", path: text };
}

function wrong(message: string, hint: string): SynclineError {
  return new SynclineError({ code: "USAGE", op: "read address", message, hint });
}
