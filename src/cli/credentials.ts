/** Who we are on foreign systems: files and environment as other programs have them. Never the command line. */
import { join } from "node:path";
import { homedir } from "node:os";
import { SynclineError } from "#model/error.ts";
import { readIfThere, readSmallFile } from "#cli/local-files.ts";
import type { S3Credentials } from "#sync/foreign/s3/s3-http.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/** What a section of an AWS file says; names in lower case. */
type Section = Readonly<Record<string, string>>;

/** A section of a file of AWS profiles; undefined where there is none of that name. */
export function profileOf(text: string, name: string): Section | undefined {
  let section: Record<string, string> | undefined;
  let isIn = false;
  for (const line of text.split("\n")) {
    const head = /^\s*\[\s*(?:profile\s+)?([^\]]+?)\s*\]/.exec(line)?.[1];
    if (head !== undefined) isIn = head === name;
    const pair = /^\s*([\w-]+)\s*=\s*(.*?)\s*$/.exec(line);
    if (!isIn || (head === undefined && pair === null)) continue;
    section ??= {};
    if (pair !== null) section[pair[1]!.toLowerCase()] = pair[2]!;
  }
  return section;
}

/** The login and password of a machine in a .netrc; `user`: only that login. */
export function netrcOf(text: string, host: string, user: string | undefined): { user: string; password: string } | undefined {
  const words = text.replaceAll(/^\s*#.*$/gm, "").match(/"(?:[^"\\]|\\.)*"|\S+/g) ?? [];
  const plain = words.map((word) => (/^".+"$/s.test(word) ? word.slice(1, -1).replaceAll(/\\(.)/g, "$1") : word));
  let isMachine = false;
  let login: string | undefined;
  for (let at = 0; at < plain.length; at++) {
    const word = plain[at];
    if (word === "machine" || word === "default") {
      isMachine = word === "default" || plain[++at]?.toLowerCase() === host.toLowerCase();
      login = undefined;
    } else if (word === "login") login = plain[++at];
    else if (word === "password") {
      const password = plain[++at];
      const isWanted = isMachine && password !== undefined && login !== undefined && (user === undefined || login === user);
      if (isWanted) return { user: login!, password };
    } else if (word === "macdef" || word === "account") at++;
  }
  return undefined;
}

/** @throws {SynclineError} USAGE when there are none */
export function s3Credentials(file: string | undefined, profile: string | undefined, env: Environment): S3Credentials {
  const name = profile ?? env.AWS_PROFILE ?? "default";
  if (file === undefined && profile === undefined && env.AWS_ACCESS_KEY_ID !== undefined && env.AWS_SECRET_ACCESS_KEY !== undefined) {
    const { AWS_ACCESS_KEY_ID: accessKey, AWS_SECRET_ACCESS_KEY: secretKey, AWS_SESSION_TOKEN: sessionToken } = env;
    return { accessKey, secretKey, sessionToken: sessionToken === "" ? undefined : sessionToken };
  }
  const shared = env.AWS_SHARED_CREDENTIALS_FILE ?? join(homedir(), ".aws", "credentials");
  const text = file === undefined ? readIfThere(shared) : readSmallFile("credentials-file", file);
  const section = text === undefined ? undefined : profileOf(text, name);
  const accessKey = section?.aws_access_key_id;
  const secretKey = section?.aws_secret_access_key;
  if (accessKey !== undefined && secretKey !== undefined) return { accessKey, secretKey, sessionToken: section?.aws_session_token };
  throw missing(
    file === undefined ? "there is no key for S3" : `${file} has no key for S3 in [${name}]`,
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a file: --credentials-file FILE, with " +
      `[${name}], aws_access_key_id = … and aws_secret_access_key = … in it`,
  );
}

/** Region and endpoint of a profile, where the environment does not say. */
export function s3Profile(profile: string | undefined, env: Environment): Section {
  const name = profile ?? env.AWS_PROFILE ?? "default";
  const text = readIfThere(env.AWS_CONFIG_FILE ?? join(homedir(), ".aws", "config"));
  return (text === undefined ? undefined : profileOf(text, name)) ?? {};
}

/** @throws {SynclineError} USAGE when a user is named whose password is not known */
export function ftpLogin(
  host: string,
  user: string | undefined,
  file: string | undefined,
  env: Environment,
): { readonly user: string; readonly password: string } {
  if (file !== undefined) {
    const found = netrcOf(readSmallFile("credentials-file", file), host, user);
    if (found !== undefined) return found;
    throw missing(`${file} has no password for ${user ?? "anybody"} at ${host}`, `write: machine ${host} login USER password PASSWORD`);
  }
  const password = env.SYNCLINE_FTP_PASSWORD;
  if (user !== undefined && password !== undefined) return { user, password };
  const text = readIfThere(env.NETRC ?? join(homedir(), ".netrc"));
  const found = text === undefined ? undefined : netrcOf(text, host, user);
  if (found !== undefined) return found;
  if (user === undefined || user === "anonymous") return { user: "anonymous", password: "anonymous@" };
  throw missing(
    `there is no password for ${user} at ${host}`,
    `set SYNCLINE_FTP_PASSWORD, or write "machine ${host} login ${user} password PASSWORD" into ~/.netrc or --credentials-file`,
  );
}

function missing(message: string, hint: string): SynclineError {
  return new SynclineError({ code: "USAGE", op: "read credentials", message, hint });
}
