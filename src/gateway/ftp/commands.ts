/** All commands of FTP that there are, by verb. */
import { ACCOUNT_COMMANDS } from "#gateway/ftp/account-commands.ts";
import { DATA_COMMANDS } from "#gateway/ftp/data-commands.ts";
import { FILE_COMMANDS } from "#gateway/ftp/file-commands.ts";
import { INFORMATION_COMMANDS } from "#gateway/ftp/information-commands.ts";
import { LISTING_COMMANDS } from "#gateway/ftp/listing-commands.ts";
import type { FtpSession } from "#gateway/ftp/session.ts";
import { TRANSFER_COMMANDS } from "#gateway/ftp/transfer-commands.ts";

export type CommandSpec = {
  /** Who may give it: anybody, or who has signed in. */
  readonly needs: "nobody" | "user";
  /** It may stand between two commands that belong together (RNFR, RNTO). */
  readonly isBetween?: true;
  /**
   * Returns the reply, whole with its line ends; undefined when it was sent.
   * @throws {FtpRefusal} what is answered instead; other errors are answered by what they mean
   */
  readonly run: (session: FtpSession, argument: string) => string | undefined | Promise<string | undefined>;
};

export type CommandTable = Readonly<Record<string, CommandSpec>>;

export function ftpCommands(): ReadonlyMap<string, CommandSpec> {
  const tables = [ACCOUNT_COMMANDS, DATA_COMMANDS, FILE_COMMANDS, INFORMATION_COMMANDS, LISTING_COMMANDS, TRANSFER_COMMANDS];
  return new Map(tables.flatMap((table) => Object.entries(table)));
}
