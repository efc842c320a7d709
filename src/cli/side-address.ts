/** What a side of a pair is, from how a person writes it. Pure. */
import { SynclineError } from "#model/error.ts";
import { pathFault } from "#model/path.ts";

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
    }
  | {
      readonly kind: "ftp";
      readonly host: string;
      readonly user: string | undefined;
      readonly port: number;
      readonly path: string;
      readonly tls: "none" | "explicit" | "implicit";
    }
  | {
      readonly kind: "sftp";
      readonly host: string;
      readonly user: string | undefined;
      readonly port: number | undefined;
      readonly path: string;
    }
  | {
      readonly kind: "s3";
      readonly bucket: string;
      /** Without "/" at its ends. */
      readonly prefix: string;
      readonly endpoint: string | undefined;
      readonly region: string | undefined;
      readonly style: "path" | "virtual" | undefined;
      readonly profile: string | undefined;
    };

const FORMS: Readonly<Record<string, string>> = {
  ssh: "ssh://[user@]host[:port]/path",
  syncline: "syncline://host:port/NAME[/sub]",
  sftp: "sftp://[user@]host[:port]/path",
  ftp: "ftp://[user@]host[:port]/path[?tls=explicit]",
  ftps: "ftps://[user@]host[:port]/path",
  s3: "s3://bucket[/prefix][?endpoint=URL&region=NAME&style=path|virtual&profile=NAME]",
};
const FTP_PORT = 21;
const FTPS_PORT = 990;

/**
 * Reads `PATH`, `ssh://[user@]host[:port]/path`, `syncline://host[:port]/NAME[/sub]`, or a place on a foreign system.
 * Nothing is decoded: the path is taken as it stands, but for what comes after a "?" of a foreign system's; and an IPv6
 * address stands in brackets.
 *
 * @throws {SynclineError} USAGE; the hint shows the right form
 */
export function parseSide(text: string): SideAddress {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]?.toLowerCase();
  if (scheme === undefined) return parseLocal(text);
  const form = FORMS[scheme];
  if (form === undefined) {
    throw wrong(
      `"${scheme}://" is no kind of side`,
      `a side is a directory, or ${["ssh", "syncline", "sftp", "ftp", "ftps", "s3"].map((one) => `${one}://…`).join(", ")}`,
    );
  }
  const rest = text.slice(scheme.length + 3);
  if (scheme === "s3") return parseBucket(text, rest, form);
  const [place, query] = scheme === "ftp" || scheme === "ftps" ? cutQuery(rest) : [rest, ""];
  const match = /^(?:([^@/]+)@)?(\[[0-9a-fA-F:.%]+\]|[^:/@[\]]+)(?::(\d{1,5}))?(\/.*)?$/.exec(place);
  if (/^[^@/]*:[^@/]*@/.test(place)) {
    // Not shown again: it is in the shell's history already.
    throw wrong("a password does not belong into an address", "write the user alone, and the password into --credentials-file");
  }
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
  if (scheme === "sftp" || scheme === "ftp" || scheme === "ftps") {
    if (path === "") throw wrong(`"${text}" names no directory`, `write ${form}; "/~" is the home directory there`);
    if (scheme === "sftp") return { kind: "sftp", host, user, port, path };
    const tls = readQuery(text, query, ["tls"], form).tls ?? (scheme === "ftps" ? "implicit" : "none");
    if (tls !== "none" && tls !== "explicit" && tls !== "implicit") throw wrong(`"${text}": no such tls "${tls}"`, `write ${form}`);
    return { kind: "ftp", host, user, port: port ?? (tls === "implicit" ? FTPS_PORT : FTP_PORT), path, tls };
  }
  const root = path.replace(/^\/+|\/+$/g, "");
  if (root === "")
    throw wrong(`"${text}" names no root`, `write ${form}; the server's --root says the names`);
  if (user !== undefined)
    throw wrong(`"${text}": there are no users here`, "the server knows tokens: --token-file FILE");
  return { kind: "tls", host, port: port ?? PORT_DEFAULT, root };
}

function cutQuery(text: string): [string, string] {
  const cut = text.indexOf("?");
  return cut < 0 ? [text, ""] : [text.slice(0, cut), text.slice(cut + 1)];
}

/** @throws {SynclineError} USAGE for other names than these */
function readQuery<Name extends string>(
  text: string,
  query: string,
  names: readonly Name[],
  form: string,
): Partial<Record<Name, string>> {
  const found: Partial<Record<Name, string>> = {};
  for (const [name, value] of new URLSearchParams(query)) {
    const known = names.find((one) => one === name);
    if (known === undefined || value === "") throw wrong(`"${text}": "${name}" means nothing there`, `write ${form}`);
    found[known] = value;
  }
  return found;
}

function parseBucket(text: string, rest: string, form: string): SideAddress {
  const [place, query] = cutQuery(rest);
  const [, bucket = "", path = ""] = /^([^/]*)\/?(.*)$/.exec(place) ?? [];
  if (!/^[a-z0-9][a-z0-9._-]{1,254}$/i.test(bucket)) throw wrong(`"${text}" names no bucket`, `write ${form}`);
  const { endpoint, region, style, profile } = readQuery(text, query, ["endpoint", "region", "style", "profile"], form);
  if (endpoint !== undefined && !isOrigin(endpoint)) {
    throw wrong(`"${text}": "${endpoint}" is no endpoint`, "write endpoint=https://host:port, without a path");
  }
  if (style !== undefined && style !== "path" && style !== "virtual") throw wrong(`"${text}": no such style`, `write ${form}`);
  const prefix = path.replace(/^\/+|\/+$/g, "");
  if (prefix !== "" && pathFault(prefix) !== undefined) throw wrong(`"${text}": "${prefix}" is no path`, `write ${form}`);
  return { kind: "s3", bucket, prefix, endpoint, region, style, profile };
}

/** "https://host:port", with nothing behind it and nobody in it. */
export function isOrigin(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, pathname, search, hash, username, password } = new URL(text);
  return /^https?:$/.test(protocol) && pathname === "/" && `${search}${hash}${username}${password}` === "";
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
