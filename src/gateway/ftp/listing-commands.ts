/** Directories: LIST, NLST, MLSD over the data connection, MLST and STAT over the control connection. */
import type { CommandTable } from "#gateway/ftp/commands.ts";
import { type FtpPath, ftpPathText, resolveFtpPath } from "#gateway/ftp/ftp-path.ts";
import type { FtpFiles } from "#gateway/ftp/files.ts";
import { type ListStyle, type Listed, factsText, listArgument, listLine, matchesName } from "#gateway/ftp/listing.ts";
import { FtpRefusal, replyLine, replyLines } from "#gateway/ftp/reply.ts";
import type { FtpSession } from "#gateway/ftp/session.ts";
import { dataOut, runTransfer } from "#gateway/ftp/transfer.ts";
import { decodeName } from "#model/path.ts";

/** Lines that STAT shows on the control connection. */
const STAT_LINES_MAX = 1_000;
const CRLF = Uint8Array.of(13, 10);

export const LISTING_COMMANDS: CommandTable = {
  LIST: { needs: "user", run: (session, argument) => sendList(session, listArgument(argument), longStyle(session)) },
  NLST: { needs: "user", run: (session, argument) => sendList(session, listArgument(argument), { kind: "names" }) },
  MLSD: { needs: "user", run: sendFacts },
  MLST: { needs: "user", run: factsOfOne },
  STAT: { needs: "nobody", isBetween: true, run: status },
  ABOR: { needs: "nobody", isBetween: true, run: abortNothing },
};

function longStyle({ shared }: FtpSession): ListStyle {
  const nowMs = shared.clock.nowMs();
  // Directories have no time in a space; the same for all misleads nobody, and clients want one.
  return { kind: "long", nowMs, dirTimeNs: 0n };
}

async function sendList(session: FtpSession, argument: string, style: ListStyle): Promise<string> {
  const { files } = session;
  return sendPages(session, await pagesOf(files, resolveFtpPath(session.cwd, argument), argument), style);
}

async function sendFacts(session: FtpSession, argument: string): Promise<string> {
  const path = resolveFtpPath(session.cwd, argument);
  if ((await session.files.require(path)).entry.kind !== "dir") throw new FtpRefusal(501, "MLSD lists directories; MLST is for one file");
  return sendPages(session, session.files.list(path), { kind: "facts", facts: session.facts });
}

/** What a listing shows: a directory's entries, one file, or the entries that a pattern in the last name fits. */
async function pagesOf(files: FtpFiles, path: FtpPath, argument: string): Promise<AsyncIterable<readonly Listed[]>> {
  const found = await files.find(path);
  if (found?.entry.kind === "dir") return files.list(path);
  if (found !== undefined) return one(files.shown(found, argument));
  const pattern = path.at(-1);
  if (pattern === undefined || !/[*?]/.test(pattern)) throw new FtpRefusal(550, "No such file or directory");
  const dir = path.slice(0, -1);
  await files.requireDir(dir);
  const before = argument.slice(0, argument.lastIndexOf("/") + 1);
  return fitting(files.list(dir), pattern, before);
}

async function* one(listed: Listed): AsyncGenerator<readonly Listed[]> {
  yield [listed];
}

async function* fitting(pages: AsyncIterable<readonly Listed[]>, pattern: string, before: string): AsyncGenerator<readonly Listed[]> {
  for await (const page of pages) {
    yield page.filter(({ name }) => matchesName(pattern, name)).map((listed) => ({ ...listed, name: before + listed.name }));
  }
}

function sendPages(session: FtpSession, pages: AsyncIterable<readonly Listed[]>, style: ListStyle): Promise<string> {
  const about = { name: "the listing", direction: "out", text: "Here comes the listing" } as const;
  return runTransfer(session, about, async (connection, moved) => {
    connection.listen({ onData: () => undefined, onEnd: () => undefined, onClose: moved.broken });
    using out = dataOut(session, connection, moved);
    for await (const page of pages) {
      const lines = page.flatMap((listed) => [listLine(listed, style), CRLF]);
      await out.write(Buffer.concat(lines));
    }
    await out.end();
    return replyLine(226, "That is all");
  });
}

async function factsOfOne(session: FtpSession, argument: string): Promise<string> {
  const path = resolveFtpPath(session.cwd, argument);
  const { files, facts } = session;
  const listed = files.shown(await files.require(path), ftpPathText(path));
  return replyLines(250, "Facts", [`${factsText(listed, facts, "dir")} ${listed.name}`], "End");
}

async function status(session: FtpSession, argument: string): Promise<string> {
  if (argument === "") return ownStatus(session);
  const { files } = session;
  const path = resolveFtpPath(session.cwd, listArgument(argument));
  const style = longStyle(session);
  const lines: string[] = [];
  for await (const page of await pagesOf(files, path, listArgument(argument))) {
    for (const listed of page) lines.push(decodeName(listLine(listed, style)));
    if (lines.length >= STAT_LINES_MAX) break;
  }
  const rest = lines.length >= STAT_LINES_MAX ? "; LIST shows all" : "";
  return replyLines(213, "Status", lines.slice(0, STAT_LINES_MAX), `End${rest}`);
}

function ownStatus({ client, signedIn, type, deflateLevel, connection, isDataPrivate }: FtpSession): string {
  const lines = [
    `Connected to ${client.address}`,
    signedIn === undefined ? "Nobody is signed in" : `Signed in as ${signedIn.who.name}`,
    `Type ${type === "ascii" ? "A" : "I"}, structure F, mode ${deflateLevel === undefined ? "S" : "Z"}`,
    `Control connection ${connection.isSecure ? "in TLS" : "in clear"}, data connections ${isDataPrivate ? "in TLS" : "in clear"}`,
  ];
  return replyLines(211, "Status", lines, "End");
}

/** What runs is aborted out of turn; here is nothing to abort. */
function abortNothing(session: FtpSession): string {
  session.channel.reset();
  return replyLine(225, "No transfer is at work");
}
