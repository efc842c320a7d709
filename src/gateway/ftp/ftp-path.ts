/**
 * Paths as FTP clients see them: "/" holds the spaces, "/site/a/b" is "a/b" in the space "site". They are resolved
 * here, once; nothing later looks at dots or slashes again.
 */
import { PATH_BYTES_MAX, type RelPath, encodeName, joinPath, pathFault } from "#model/path.ts";
import { SPACE_NAME } from "#hub/space.ts";
import { FtpRefusal } from "#gateway/ftp/reply.ts";

/** Names from the root down; none is empty, ".", ".." or has a slash. */
export type FtpPath = readonly string[];

export const ROOT: FtpPath = [];

/** What a path leads to: the root, which is above all spaces, or a place in a space. */
export type Place = { readonly space: string; readonly path: RelPath };

/**
 * @param text what the client sent; "" is the directory itself
 * @throws {FtpRefusal} 553 for what cannot be a path
 */
export function resolveFtpPath(cwd: FtpPath, text: string): FtpPath {
  if (encodeName(text).length > PATH_BYTES_MAX) throw new FtpRefusal(553, "The path is too long");
  if (/[\0\r\n]/.test(text)) throw new FtpRefusal(553, "The path holds a character that no name has");
  const names = text.startsWith("/") ? [] : [...cwd];
  for (const name of text.split("/")) {
    if (name === "" || name === ".") continue;
    if (name === "..") names.pop();
    else names.push(name);
  }
  return names;
}

/** The path that a command is about. @throws {FtpRefusal} 501 where it names none */
export function pathOf({ cwd }: { readonly cwd: FtpPath }, argument: string): FtpPath {
  if (argument === "") throw new FtpRefusal(501, "A path is missing");
  return resolveFtpPath(cwd, argument);
}

/** Why nothing in a space can have this path; undefined where something can. */
export const nameFault = (path: FtpPath): string | undefined => pathFault(path.slice(1).reduce(joinPath, ""), true);

/**
 * Undefined is the root.
 * @throws {FtpRefusal} 550 for names that no space or entry can have
 */
export function placeOf(path: FtpPath): Place | undefined {
  const [space, ...names] = path;
  if (space === undefined) return undefined;
  const inner = names.reduce(joinPath, "");
  if (!SPACE_NAME.test(space) || pathFault(inner, true) !== undefined) {
    throw new FtpRefusal(550, "No such file or directory");
  }
  return { space, path: inner };
}

export function ftpPathText(path: FtpPath): string {
  return `/${path.join("/")}`;
}

/** As 257 wants it (RFC 959 appendix II): quotes are doubled. */
export function quoted(path: FtpPath): string {
  return `"${ftpPathText(path).replaceAll('"', '""')}"`;
}
