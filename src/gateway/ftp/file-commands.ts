/** Files and directories without their bytes: CWD, MKD, RNFR, SIZE, MFMT and what belongs to them. */
import type { CommandTable } from "#gateway/ftp/commands.ts";
import { parseFacts } from "#gateway/ftp/changed-facts.ts";
import { ftpTimeText, parseFtpTime } from "#platform/net/ftp-time.ts";
import { ftpPathText, pathOf, quoted } from "#gateway/ftp/ftp-path.ts";
import { hashFile } from "#gateway/ftp/hash-commands.ts";
import type { HashName } from "#gateway/ftp/hashes.ts";
import { FtpRefusal, replyLine, replyLines } from "#gateway/ftp/reply.ts";
import type { FtpSession } from "#gateway/ftp/session.ts";
import { partialSize } from "#gateway/ftp/uploading.ts";

const MODE = /^([0-7]{3,4})\s+(.+)$/s;
/** "20261126064500 path": what looks like a time may also be a name. */
const TIME_AND_PATH = /^(\d{12,14}(?:\.\d{1,9})?)\s+(.+)$/s;
/** The old form: "path atime mtime ctime UTC". */
const UTIME_OLD = /^(.+?)\s+\d{12,14}\s+(\d{12,14})\s+\d{12,14}(?:\s+UTC)?$/s;

export const FILE_COMMANDS: CommandTable = {
  PWD: { needs: "user", run: (session) => replyLine(257, `${quoted(session.cwd)} is the current directory`) },
  CWD: { needs: "user", run: changeDir },
  CDUP: { needs: "user", run: (session) => changeDir(session, "..") },
  MKD: { needs: "user", run: makeDir },
  RMD: { needs: "user", run: removeDir },
  DELE: { needs: "user", run: removeFile },
  RNFR: { needs: "user", run: renameFrom },
  RNTO: { needs: "user", run: renameTo },
  SIZE: { needs: "user", run: size },
  MDTM: { needs: "user", run: modificationTime },
  MFMT: { needs: "user", run: setTime },
  MFF: { needs: "user", run: setFacts },
  HASH: { needs: "user", run: (session, argument) => hashFile(session, argument, undefined) },
  XCRC: { needs: "user", run: hashBy("CRC32") },
  XMD5: { needs: "user", run: hashBy("MD5") },
  XSHA: { needs: "user", run: hashBy("SHA-1") },
  XSHA1: { needs: "user", run: hashBy("SHA-1") },
  XSHA256: { needs: "user", run: hashBy("SHA-256") },
  XSHA512: { needs: "user", run: hashBy("SHA-512") },
  AVBL: { needs: "user", run: available },
  SITE: { needs: "user", run: site },
  XPWD: { needs: "user", run: (session) => replyLine(257, `${quoted(session.cwd)} is the current directory`) },
  XCWD: { needs: "user", run: changeDir },
  XCUP: { needs: "user", run: (session) => changeDir(session, "..") },
  XMKD: { needs: "user", run: makeDir },
  XRMD: { needs: "user", run: removeDir },
};

function hashBy(name: HashName): (session: FtpSession, argument: string) => Promise<string> {
  return (session, argument) => hashFile(session, argument, name);
}

async function changeDir(session: FtpSession, argument: string): Promise<string> {
  const path = pathOf(session, argument);
  await session.files.requireDir(path);
  session.cwd = path;
  return replyLine(250, `${quoted(path)} is the current directory`);
}

async function makeDir(session: FtpSession, argument: string): Promise<string> {
  const path = pathOf(session, argument);
  await session.files.makeDir(path);
  return replyLine(257, `${quoted(path)} is made`);
}

async function removeDir(session: FtpSession, argument: string): Promise<string> {
  await session.files.removeDir(pathOf(session, argument));
  return replyLine(250, "Removed");
}

async function removeFile(session: FtpSession, argument: string): Promise<string> {
  await session.files.removeFile(pathOf(session, argument));
  return replyLine(250, "Removed");
}

async function renameFrom(session: FtpSession, argument: string): Promise<string> {
  const path = pathOf(session, argument);
  await session.files.require(path);
  session.files.target(path);
  session.renameFrom = path;
  return replyLine(350, "Send RNTO with the new name");
}

async function renameTo(session: FtpSession, argument: string): Promise<string> {
  const from = session.renameFrom;
  session.renameFrom = undefined;
  if (from === undefined) throw new FtpRefusal(503, "Send RNFR first");
  await session.files.rename(from, pathOf(session, argument));
  return replyLine(250, "Renamed");
}

async function size(session: FtpSession, argument: string): Promise<string> {
  const path = pathOf(session, argument);
  // What a file has on the wire in type A is known only when all of it was read.
  if (session.type === "ascii") throw new FtpRefusal(550, "SIZE needs TYPE I");
  const partial = await partialSize(session, path);
  if (partial !== undefined) return replyLine(213, String(partial));
  const { entry } = await session.files.requireFile(path);
  return replyLine(213, String(entry.size));
}

async function available(session: FtpSession, argument: string): Promise<string> {
  const path = argument === "" ? session.cwd : pathOf(session, argument);
  return replyLine(213, String(await session.files.roomIn(path, session.shared.freeBytes())));
}

async function modificationTime(session: FtpSession, argument: string): Promise<string> {
  const path = pathOf(session, argument);
  const found = await session.files.find(path);
  const match = found === undefined ? TIME_AND_PATH.exec(argument) : null;
  if (match !== null) return setTime(session, argument);
  const { entry } = await session.files.requireFile(path);
  return replyLine(213, ftpTimeText(entry.mtimeNs));
}

async function setTime(session: FtpSession, argument: string): Promise<string> {
  const [, text = "", name = ""] = TIME_AND_PATH.exec(argument) ?? [];
  const mtimeNs = parseFtpTime(text);
  if (mtimeNs === undefined) throw new FtpRefusal(501, "A time is YYYYMMDDHHMMSS, before the path");
  const path = pathOf(session, name);
  await session.files.change(path, { mtimeNs });
  return replyLine(213, `Modify=${ftpTimeText(mtimeNs)}; ${ftpPathText(path)}`);
}

/** MFF (draft-somers-ftp-mfxx): all of the facts, or none. */
async function setFacts(session: FtpSession, argument: string): Promise<string> {
  const { facts, name } = parseFacts(argument);
  const path = pathOf(session, name);
  await session.files.change(path, facts);
  const { mtimeNs, mode } = facts;
  const told = [
    ...(mtimeNs === undefined ? [] : [`Modify=${ftpTimeText(mtimeNs)};`]),
    ...(mode === undefined ? [] : [`UNIX.mode=${mode.toString(8).padStart(4, "0")};`]),
  ];
  return replyLine(213, `${told.join("")} ${ftpPathText(path)}`);
}

type SiteCommand = (session: FtpSession, argument: string) => string | Promise<string>;

const SITE: Readonly<Record<string, SiteCommand>> = {
  CHMOD: changeMode,
  UTIME: changeTime,
  CPFR: copyFrom,
  CPTO: copyTo,
  COPY: copy,
  UMASK: () => replyLine(200, "Noted, and not used"),
  IDLE: ({ shared }) => replyLine(200, `Sessions that ask nothing end after ${Math.round(shared.settings.idleMs / 1000)} s`),
  HELP: () => replyLines(214, "SITE commands:", Object.keys(SITE), "End"),
};

function site(session: FtpSession, argument: string): string | Promise<string> {
  const [, verb = "", rest = ""] = /^(\S+)\s*(.*)$/s.exec(argument) ?? [];
  const run = Object.hasOwn(SITE, verb.toUpperCase()) ? SITE[verb.toUpperCase()] : undefined;
  if (run === undefined) throw new FtpRefusal(verb === "" ? 501 : 504, "SITE HELP lists what there is");
  return run(session, rest);
}

async function changeMode(session: FtpSession, argument: string): Promise<string> {
  const [, bits, name = ""] = MODE.exec(argument) ?? [];
  if (bits === undefined) throw new FtpRefusal(501, "SITE CHMOD takes octal bits and a path");
  await session.files.change(pathOf(session, name), { mode: Number.parseInt(bits, 8) });
  return replyLine(200, "Changed");
}

async function changeTime(session: FtpSession, argument: string): Promise<string> {
  const old = UTIME_OLD.exec(argument);
  const [, text = "", name = ""] = old === null ? (TIME_AND_PATH.exec(argument) ?? []) : ["", old[2], old[1]];
  const mtimeNs = parseFtpTime(text);
  if (mtimeNs === undefined) throw new FtpRefusal(501, "SITE UTIME takes YYYYMMDDHHMMSS and a path");
  await session.files.change(pathOf(session, name), { mtimeNs });
  return replyLine(200, "Changed");
}

async function copyFrom(session: FtpSession, argument: string): Promise<string> {
  const path = pathOf(session, argument);
  await session.files.requireFile(path);
  session.copyFrom = path;
  return replyLine(350, "Send SITE CPTO with the name of the copy");
}

async function copyTo(session: FtpSession, argument: string): Promise<string> {
  const from = session.copyFrom;
  session.copyFrom = undefined;
  if (from === undefined) throw new FtpRefusal(503, "Send SITE CPFR first");
  await session.files.copy(from, pathOf(session, argument));
  return replyLine(250, "Copied");
}

/** "from to", for names without spaces. */
async function copy(session: FtpSession, argument: string): Promise<string> {
  const words = argument.trim().split(/\s+/);
  if (words.length !== 2) throw new FtpRefusal(501, "SITE COPY takes two names without spaces; CPFR and CPTO take others");
  await session.files.copy(pathOf(session, words[0]!), pathOf(session, words[1]!));
  return replyLine(250, "Copied");
}
