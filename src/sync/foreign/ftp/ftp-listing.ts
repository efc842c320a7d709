/** Directories and single entries of an FTP server, told as exactly as it can tell them. */
import { SynclineError } from "#model/error.ts";
import { parseFtpTime } from "#platform/net/ftp-time.ts";
import { COMMANDS_AHEAD_MAX, type FtpControl } from "#sync/foreign/ftp/ftp-control.ts";
import { incoming } from "#sync/foreign/ftp/ftp-data.ts";
import { FtpRefusal, isVague, lostConnection, notDone } from "#sync/foreign/ftp/ftp-errors.ts";
import { type Listed, ListingLines, readFacts, readListLine } from "#sync/foreign/ftp/listings.ts";
import { type Reply, replyText } from "#sync/foreign/ftp/replies.ts";

/** Entries of one directory; they are in memory until the listing is known to be whole. */
export const LISTED_MAX = 1_000_000;

export class FtpListing {
  readonly #label: string;
  /** Servers without MLSD: whether they show names that begin with a dot. Undefined: not seen yet. */
  showsHidden: boolean | undefined;
  #listCommand = "LIST -a";
  /** The server has shown that it understands the option: what it refuses from then on is the directory. */
  #knowsOption = false;

  constructor(label: string) {
    this.#label = label;
  }

  /**
   * All of a directory, or a rejection.
   * @param path on the server
   * @throws {FtpRefusal} when the server says no; {SynclineError} LINK_LOST, PROTOCOL, LIMIT
   */
  async read(control: FtpControl, path: string): Promise<Listed[]> {
    if (control.features.has("MLST")) {
      const listed = await this.#receive(control, `MLSD ${path}`, readFacts);
      this.showsHidden = true;
      return listed;
    }
    const entered = await control.send(`CWD ${path}`);
    if (entered.code >= 300) throw new FtpRefusal(entered);
    const listed = await this.#readLines(control);
    if (control.features.has("MDTM")) return this.#withTimes(control, path, listed);
    return listed;
  }

  async #readLines(control: FtpControl): Promise<Listed[]> {
    let dots = 0;
    let lines = 0;
    const read = (line: string): Listed | undefined => {
      lines++;
      return readListLine(line, () => dots++);
    };
    let listed: Listed[];
    try {
      listed = await this.#receive(control, this.#listCommand, read);
      this.#knowsOption ||= dots > 0;
    } catch (error) {
      const isOption = this.#listCommand !== "LIST" && !this.#knowsOption;
      if (!(error instanceof FtpRefusal) || error.reply.code < 500 || !isOption) throw error;
      // A server that takes the option for a name lists the same without it. It is not known then whether it shows hidden
      // files. One that refuses that, too, has said nothing of the option: without it all hidden files would seem to be gone.
      listed = await this.#receive(control, "LIST", read);
      this.#listCommand = "LIST";
    }
    // Where "." is shown, all else that begins with a dot is, too.
    if (dots > 0) this.showsHidden = true;
    else if (lines > 0) this.showsHidden = listed.some(({ name }) => name.startsWith("."));
    return listed;
  }

  /** LIST tells times to the minute, in some zone; MDTM tells them as they are. What has none any more keeps none. */
  async #withTimes(control: FtpControl, path: string, listed: readonly Listed[]): Promise<Listed[]> {
    const timed: Listed[] = [];
    for (let at = 0; at < listed.length; at += COMMANDS_AHEAD_MAX) {
      const some = listed.slice(at, at + COMMANDS_AHEAD_MAX);
      const files = some.filter(({ kind, name }) => kind === "file" && isSayable(name));
      const replies = await control.sendAll(files.map(({ name }) => `MDTM ${below(path, name)}`));
      const times = new Map(files.map((file, index) => [file, timeOf(replies[index]!)]));
      for (const one of some) timed.push({ ...one, mtimeNs: times.get(one) });
    }
    return timed;
  }

  async #receive(control: FtpControl, command: string, read: (line: string) => Listed | undefined): Promise<Listed[]> {
    const { data, done } = await control.begin(command);
    const lines = new ListingLines();
    const listed: Listed[] = [];
    const take = (some: readonly string[]): void => {
      for (const line of some) {
        const one = read(line);
        if (one !== undefined) listed.push(checkedName(one));
        if (listed.length > LISTED_MAX) throw tooMany();
      }
    };
    const bytes = incoming(data, this.#label);
    let isWhole: boolean;
    try {
      for (;;) {
        const next = await bytes.next();
        if (next.done === true) {
          isWhole = next.value;
          break;
        }
        take(lines.push(next.value));
      }
      take(lines.end());
    } catch (error) {
      data.destroy();
      throw error;
    }
    const said = await done();
    if (said.code >= 400) throw new FtpRefusal(said);
    // Pure-FTPd ends in order behind 10,000 entries, where nothing else is configured.
    if (TRUNCATED.test(said.lines.join(" "))) throw truncated(said);
    // There are servers that end in order and say in words that they could not open the directory.
    if (said.code >= 300 || /fail|error|cannot|could not|denied/i.test(replyText(said))) throw notDone(said, "list", undefined, "DENIED");
    if (!isWhole) throw lostConnection(this.#label, new Error("the listing was cut"));
    return listed;
  }

  /**
   * What is at a path; undefined when nothing is, as far as the server can tell.
   * @throws {FtpRefusal} where that is left open
   */
  async look(control: FtpControl, path: string): Promise<Listed | undefined> {
    if (control.features.has("MLST")) return lookFacts(control, path);
    if (control.features.has("SIZE") || control.features.size === 0) {
      const found = await this.#lookAtFile(control, path);
      if (found !== "unknown") return found;
    }
    if (path === "/") return directoryEntry();
    const all = await this.read(control, parentPath(path));
    return all.find(({ name }) => name === lastName(path));
  }

  /** By what can be asked of files alone. The directory that it lies in can be entered, or nothing is known. */
  async #lookAtFile(control: FtpControl, path: string): Promise<Listed | undefined | "unknown"> {
    const [size, time, entered, parent] = await control.sendAll([
      `SIZE ${path}`, `MDTM ${path}`, `CWD ${path}`, `CWD ${parentPath(path)}`,
    ]);
    if (entered!.code < 300) return directoryEntry();
    const bytes = Number(size!.lines[0]?.trim());
    if (size!.code === 213 && Number.isSafeInteger(bytes)) {
      return { name: lastName(path), kind: "file", size: bytes, mtimeNs: timeOf(time!), target: undefined };
    }
    if ([size!, entered!].some(({ code }) => code >= 400 && code < 500)) throw new FtpRefusal(size!);
    if (size!.code !== 550) return "unknown";
    if (parent!.code < 300) return undefined;
    throw new FtpRefusal(parent!);
  }

  /**
   * What a 550 means that says nothing by itself: the directory above tells whether the thing is there at all.
   * @returns the error to be thrown: NOT_FOUND or DENIED, or what the reply says by itself
   */
  async explain(control: FtpControl, refusal: FtpRefusal, op: string, path: string): Promise<SynclineError> {
    if (!isVague(refusal.reply)) return notDone(refusal.reply, op, path);
    for (let at = path; at !== "/"; at = parentPath(at)) {
      try {
        const isThere = (await this.read(control, parentPath(at))).some(({ name }) => name === lastName(at));
        return notDone(refusal.reply, op, path, isThere ? "DENIED" : "NOT_FOUND");
      } catch (error) {
        if (!(error instanceof FtpRefusal)) throw error;
      }
    }
    return notDone(refusal.reply, op, path, "DENIED");
  }
}

async function lookFacts(control: FtpControl, path: string): Promise<Listed | undefined> {
  const answer = await control.send(`MLST ${path}`);
  if (answer.code === 250) {
    const line = answer.lines[1];
    if (answer.lines.length < 3 || line === undefined) throw senseless(answer);
    const listed = readFacts(line.startsWith(" ") ? line.slice(1) : line);
    return listed === undefined ? directoryEntry() : { ...listed, name: lastName(path) };
  }
  if (!isVague(answer)) {
    const error = notDone(answer, "look at", path);
    if (error.code === "NOT_FOUND") return undefined;
    throw error;
  }
  // Whoever may enter the directory above may look at whatever is in it.
  if (path !== "/" && (await control.send(`CWD ${parentPath(path)}`)).code < 300) return undefined;
  throw new FtpRefusal(answer);
}

function senseless(answer: Reply): SynclineError {
  return new SynclineError({ code: "PROTOCOL", op: "look at", message: `the FTP server makes no sense: ${replyText(answer)}` });
}

const directoryEntry = (): Listed => ({ name: "", kind: "dir", size: 0, mtimeNs: undefined, target: undefined });

/** The server's time of a file; undefined when it was not told. */
function timeOf(reply: Reply): bigint | undefined {
  return reply.code === 213 ? parseFtpTime(reply.lines[0]!.trim()) : undefined;
}

const TRUNCATED = /truncated|incomplete|partial/i;

function truncated(said: Reply): SynclineError {
  return new SynclineError({
    code: "UNSUPPORTED",
    op: "read FTP listing",
    message: `the server tells only a part of what is in a directory: ${replyText(said)}`,
    hint: "let the server list more (Pure-FTPd: LimitRecursion), or divide the directory",
  });
}

/** Some servers tell names with the path before them. */
function checkedName(listed: Listed): Listed {
  const { name } = listed;
  if (name !== "" && name !== "." && name !== ".." && !name.includes("/") && !name.includes("\0")) return listed;
  throw new SynclineError({
    code: "PROTOCOL",
    op: "read FTP listing",
    message: `the server lists a name that is none: ${JSON.stringify(name.slice(0, 100))}`,
  });
}

function tooMany(): SynclineError {
  return new SynclineError({
    code: "LIMIT",
    op: "read FTP listing",
    message: `a directory of the server has more than ${LISTED_MAX} entries`,
    hint: "divide it, or leave it out with --ignore",
  });
}

/** Can a name be part of a command? */
export const isSayable = (name: string): boolean => !/[\0\r\n\udcff]/.test(name);

/** Absolute paths of the server, "/" being the top. */
export const below = (dir: string, name: string): string => (dir === "/" ? `/${name}` : `${dir}/${name}`);
export const parentPath = (path: string): string => path.slice(0, path.lastIndexOf("/")) || "/";
export const lastName = (path: string): string => path.slice(path.lastIndexOf("/") + 1);
