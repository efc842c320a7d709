/** HASH (draft-bryan-ftp-hash), and the commands that came before it: XCRC, XMD5, XSHA1, XSHA256, XSHA512. */
import { type HashName, sumNameOf, sumOfRange } from "#gateway/ftp/hashes.ts";
import { ftpPathText, pathOf } from "#gateway/ftp/ftp-path.ts";
import { takeRange } from "#gateway/ftp/ranges.ts";
import { FtpRefusal, replyLine } from "#gateway/ftp/reply.ts";
import type { FtpSession } from "#gateway/ftp/session.ts";

/** `"a name" 0 100`: the older commands take a range behind the name, which may be quoted. */
const WITH_RANGE = /^(?:"(.+)"|(.+?))\s+(\d{1,15})(?:\s+(\d{1,15}))?$/s;

/** @param name undefined: HASH, by what OPTS has chosen */
export async function hashFile(session: FtpSession, argument: string, name: HashName | undefined): Promise<string> {
  const { files, shared, gone } = session;
  const { start, end: given } = takeRange(session);
  const wanted = name === undefined ? { path: argument, start, end: given } : await rangeOf(session, argument);
  const path = pathOf(session, wanted.path);
  const { place, version, entry } = await files.requireFile(path);
  const end = Math.min(entry.size, wanted.end ?? entry.size);
  if (wanted.start > end) throw new FtpRefusal(501, `The file has ${entry.size} bytes`);
  const by = name ?? session.hash;
  const isWhole = wanted.start === 0 && end === entry.size;
  const hash = await shared.hashes.limited(async () => {
    // Known where a door or somebody before has asked for it.
    if (isWhole) return (await files.spaces.sums(files.who, place.space, version, [sumNameOf(by)]))[sumNameOf(by)]!;
    const reader = await files.spaces.open(files.who, place.space, version);
    return sumOfRange(reader, by, { start: wanted.start, end }, gone);
  });
  if (name !== undefined) return replyLine(250, hash.toUpperCase());
  return replyLine(213, `${session.hash} ${wanted.start}-${end} ${hash} ${ftpPathText(path)}`);
}

type Wanted = { readonly path: string; readonly start: number; readonly end: number | undefined };

/** A name that ends with numbers is a name first. */
async function rangeOf(session: FtpSession, argument: string): Promise<Wanted> {
  const whole: Wanted = { path: argument, start: 0, end: undefined };
  if ((await session.files.find(pathOf(session, argument))) !== undefined) return whole;
  const quoted = /^"(.+)"$/s.exec(argument);
  if (quoted !== null) return { ...whole, path: quoted[1]! };
  const match = WITH_RANGE.exec(argument);
  if (match === null) return whole;
  const [, inQuotes, plain, start, end] = match;
  return { path: inQuotes ?? plain!, start: Number(start), end: end === undefined ? undefined : Number(end) };
}
