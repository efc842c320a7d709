/** What MFF is given: "Modify=20261126064500;UNIX.mode=0644; path". Pure. */
import { FtpRefusal } from "#gateway/ftp/reply.ts";
import { parseFtpTime } from "#platform/net/ftp-time.ts";

export type ChangedFacts = { readonly mtimeNs?: bigint; readonly mode?: number };

/** Facts have no spaces; behind the first one comes the path, which may have any. */
const FACTS_AND_PATH = /^((?:[^\s;=]{1,32}=[^\s;]{1,64};){1,8})\s(.+)$/s;
const MODE = /^0{0,3}[0-7]{1,4}$/;

/** @throws {FtpRefusal} 501 for what cannot be read, 504 for facts that cannot be changed */
export function parseFacts(argument: string): { readonly facts: ChangedFacts; readonly name: string } {
  const match = FACTS_AND_PATH.exec(argument);
  if (match === null) throw new FtpRefusal(501, "MFF takes facts like Modify=20261126064500; then a space and the path");
  const facts: { mtimeNs?: bigint; mode?: number } = {};
  for (const fact of match[1]!.split(";").slice(0, -1)) {
    const at = fact.indexOf("=");
    const name = fact.slice(0, at).toLowerCase();
    const value = fact.slice(at + 1);
    const key = name === "modify" ? "mtimeNs" : name === "unix.mode" ? "mode" : undefined;
    if (key === undefined) throw new FtpRefusal(504, "Modify and UNIX.mode are the facts that can be changed");
    if (facts[key] !== undefined) throw new FtpRefusal(501, `${fact.slice(0, at)} is given twice`);
    if (key === "mtimeNs") facts.mtimeNs = timeOf(value);
    else facts.mode = modeOf(value);
  }
  return { facts, name: match[2]! };
}

function timeOf(value: string): bigint {
  const mtimeNs = parseFtpTime(value);
  if (mtimeNs === undefined) throw new FtpRefusal(501, "A time is YYYYMMDDHHMMSS");
  return mtimeNs;
}

function modeOf(value: string): number {
  if (!MODE.test(value)) throw new FtpRefusal(501, "UNIX.mode is octal");
  return Number.parseInt(value, 8);
}
