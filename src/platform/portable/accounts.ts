/** Names and numbers of users and groups, from the system's account files. */
import { readFileSync } from "node:fs";

/** How long what was read is believed, milliseconds. */
const BELIEVED_MS = 60_000;

class AccountFile {
  readonly #path: string;
  #names = new Map<number, string>();
  #numbers = new Map<string, number>();
  #readAtMs = Number.NEGATIVE_INFINITY;

  constructor(path: string) {
    this.#path = path;
  }

  name(number: number): string | undefined {
    this.#refresh();
    return this.#names.get(number);
  }

  number(name: string): number | undefined {
    this.#refresh();
    return this.#numbers.get(name);
  }

  #refresh(): void {
    const nowMs = performance.now();
    if (nowMs - this.#readAtMs < BELIEVED_MS) return;
    this.#readAtMs = nowMs;
    let text: string;
    try {
      text = readFileSync(this.#path, "utf8");
    } catch {
      return; // Where there is no such file every name is unknown; one that vanished leaves what was known.
    }
    this.#names = new Map();
    this.#numbers = new Map();
    for (const line of text.split("\n")) {
      const [name, , number] = line.split(":");
      if (name === undefined || name === "" || number === undefined || !/^\d+$/.test(number)) continue;
      // The first line of a name or number wins, as in getpwnam and getpwuid.
      if (!this.#names.has(Number(number))) this.#names.set(Number(number), name);
      if (!this.#numbers.has(name)) this.#numbers.set(name, Number(number));
    }
  }
}

/** Only local accounts are known: directory services (LDAP, Active Directory) are not asked. */
export class Accounts {
  readonly #users: AccountFile;
  readonly #groups: AccountFile;

  constructor(usersPath = "/etc/passwd", groupsPath = "/etc/group") {
    this.#users = new AccountFile(usersPath);
    this.#groups = new AccountFile(groupsPath);
  }

  userName(uid: number): string | undefined {
    return this.#users.name(uid);
  }

  groupName(gid: number): string | undefined {
    return this.#groups.name(gid);
  }

  userId(name: string): number | undefined {
    return this.#users.number(name);
  }

  groupId(name: string): number | undefined {
    return this.#groups.number(name);
  }
}
