/** What the server can do, and how the next transfer is to be: FEAT, OPTS, TYPE and what belongs to them. */
import type { CommandTable } from "#gateway/ftp/commands.ts";
import { DEFLATE_LEVEL_DEFAULT, DEFLATE_LEVEL_MAX, DEFLATE_LEVEL_MIN } from "#gateway/ftp/deflate.ts";
import { HASH_NAMES, isHashName } from "#gateway/ftp/hashes.ts";
import { factsFeature, factsOf } from "#gateway/ftp/listing.ts";
import { range, restart, takeRange } from "#gateway/ftp/ranges.ts";
import { FtpRefusal, replyLine, replyLines } from "#gateway/ftp/reply.ts";
import type { FtpSession } from "#gateway/ftp/session.ts";

export const INFORMATION_COMMANDS: CommandTable = {
  FEAT: { needs: "nobody", run: features },
  OPTS: { needs: "nobody", run: options },
  SYST: { needs: "nobody", run: () => replyLine(215, "UNIX Type: L8") },
  NOOP: { needs: "nobody", isBetween: true, run: () => replyLine(200, "Still here") },
  CLNT: { needs: "nobody", run: () => replyLine(200, "Noted") },
  LANG: { needs: "nobody", run: language },
  HELP: { needs: "nobody", run: help },
  TYPE: { needs: "user", run: type },
  MODE: { needs: "user", run: mode },
  STRU: { needs: "user", run: (_, argument) => onlyOne(argument, "F", "STRU", "files are what there is") },
  ALLO: { needs: "user", run: allocate },
  REST: { needs: "user", run: restart },
  RANG: { needs: "user", run: range },
};

const FEATURES = [
  "AUTH TLS", "AVBL", "CLNT", "EPRT", "EPSV", "HASH", "LANG EN*", "MDTM", "MFF Modify;UNIX.mode;", "MFMT", "MLST",
  "MODE Z LEVEL", "PBSZ", "PROT", "RANG STREAM", "REST STREAM",
  "SITE CHMOD", "SITE COPY", "SITE CPFR", "SITE CPTO", "SITE UTIME", "SIZE", "TVFS", "UTF8", "XCRC", "XMD5", "XSHA1", "XSHA256",
  "XSHA512",
];

function features({ facts, hash }: FtpSession): string {
  const lines = FEATURES.map((name) => {
    if (name === "MLST") return `MLST ${factsFeature(facts)}`;
    return name === "HASH" ? `HASH ${HASH_NAMES.map((one) => (one === hash ? `${one}*` : one)).join(";")}` : name;
  });
  return replyLines(211, "Features:", lines, "End");
}

function options(session: FtpSession, argument: string): string {
  const [, name = "", rest = ""] = /^(\S+)\s*(.*)$/.exec(argument) ?? [];
  switch (name.toUpperCase()) {
    case "UTF8":
    case "UTF-8":
      if (/^off$/i.test(rest)) throw new FtpRefusal(501, "Names are UTF-8 always");
      return replyLine(200, "Names are UTF-8");
    case "MLST":
      session.facts = factsOf(rest);
      return replyLine(200, `MLST OPTS ${session.facts.map((fact) => `${fact};`).join("")}`);
    case "HASH": {
      const hash = rest.toUpperCase();
      if (hash !== "" && !isHashName(hash)) throw new FtpRefusal(501, `There are ${HASH_NAMES.join(", ")}`);
      if (hash !== "") session.hash = hash;
      return replyLine(200, session.hash);
    }
    case "MODE":
      return deflateLevel(session, rest);
    default:
      throw new FtpRefusal(501, "There are options for UTF8, MLST, HASH and MODE Z");
  }
}

function mode(session: FtpSession, argument: string): string {
  const wanted = argument.trim().toUpperCase();
  if (wanted !== "S" && wanted !== "Z") throw new FtpRefusal(wanted === "" ? 501 : 504, "MODE takes S, or Z for compressed");
  session.deflateLevel = wanted === "Z" ? session.deflateLevelWanted : undefined;
  return replyLine(200, wanted === "Z" ? "MODE Z: data connections are compressed" : "MODE S: bytes as they are");
}

/** "Z LEVEL 6"; without a level it is the usual one again. */
function deflateLevel(session: FtpSession, argument: string): string {
  const match = /^Z(?:\s+LEVEL\s+(\d))?$/i.exec(argument.trim());
  if (match === null) {
    throw new FtpRefusal(501, `OPTS MODE Z LEVEL takes ${DEFLATE_LEVEL_MIN} to ${DEFLATE_LEVEL_MAX}; nothing else is to be chosen`);
  }
  const level = match[1] === undefined ? DEFLATE_LEVEL_DEFAULT : Number(match[1]);
  session.deflateLevelWanted = level;
  if (session.deflateLevel !== undefined) session.deflateLevel = level;
  return replyLine(200, `MODE Z LEVEL is ${level}`);
}

function language(_session: FtpSession, argument: string): string {
  if (argument === "" || /^en\b/i.test(argument)) return replyLine(200, "English");
  throw new FtpRefusal(504, "English is what there is");
}

function help({ shared }: FtpSession): string {
  const verbs = [...shared.commands.keys()].sort();
  const lines = Array.from({ length: Math.ceil(verbs.length / 8) }, (_, at) =>
    verbs.slice(at * 8, at * 8 + 8).map((verb) => verb.padEnd(8)).join("").trimEnd(),
  );
  return replyLines(214, "Commands:", lines, "End");
}

function type(session: FtpSession, argument: string): string {
  const words = argument.toUpperCase().trim().split(/\s+/);
  const [first, second = "N"] = words;
  if (first === "I" || (first === "L" && words[1] === "8")) {
    session.type = "binary";
    return replyLine(200, "Type I: bytes as they are");
  }
  if (first === "A" && second === "N") {
    session.type = "ascii";
    takeRange(session);
    return replyLine(200, "Type A: lines end with CR LF on the way");
  }
  throw new FtpRefusal(words[0] === "" ? 501 : 504, "TYPE takes A, I or L 8");
}

function onlyOne(argument: string, only: string, verb: string, text: string): string {
  if (argument.trim().toUpperCase() === only) return replyLine(200, `${verb} ${only}`);
  throw new FtpRefusal(argument === "" ? 501 : 504, `${verb} ${only}: ${text}`);
}

/** What an upload will have at least; it is taken for broken off when less comes. */
function allocate(session: FtpSession, argument: string): string {
  const match = /^(\d{1,15})(?:\s+R\s+\d+)?$/i.exec(argument.trim());
  if (match === null) throw new FtpRefusal(501, "ALLO takes a number of bytes");
  session.allocated = Number(match[1]);
  return replyLine(200, "Noted");
}
