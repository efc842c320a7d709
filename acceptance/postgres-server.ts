/** A PostgreSQL server of one test: on loopback, by a user without rights, in a directory that goes with it. */
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Where initdb and pg_ctl are. Throws when they are not there. */
export function postgresBin(): string {
  const dirs = existsSync("/usr/lib/postgresql")
    ? readdirSync("/usr/lib/postgresql").map((version) => join("/usr/lib/postgresql", version, "bin"))
    : [];
  const found = [...dirs, "/usr/local/bin"].find((dir) => existsSync(join(dir, "initdb")));
  if (found === undefined) throw new Error("PostgreSQL is missing; run tools/provision");
  return found;
}

/** What a command begins with so that it does not run as root, which the server refuses. */
export function asPostgres(): string[] {
  if (process.getuid?.() !== 0) return [];
  return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"];
}

export class PostgresServer implements AsyncDisposable {
  readonly #dir = mkdtempSync(join(tmpdir(), "syncline-pg-"));
  readonly #data = join(this.#dir, "own", "data");
  #port = 0;
  #databases = 0;

  static async start(): Promise<PostgresServer> {
    const server = new PostgresServer();
    chmodSync(server.#dir, 0o755);
    const own = join(server.#dir, "own");
    mkdirSync(own);
    if (process.getuid?.() === 0) {
      const [uid, gid] = ["-u", "-g"].map((flag) =>
        Number(Bun.spawnSync(["id", flag, "postgres"]).stdout.toString()),
      );
      chownSync(own, uid!, gid!);
    }
    await server.#run("initdb", "-D", server.#data, "-A", "trust", "-U", "syncline", "--no-sync", "-E", "UTF8");
    const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    server.#port = probe.port;
    probe.stop(true);
    await server.begin();
    return server;
  }

  async begin(): Promise<void> {
    // After a crash it syncs what it has: file by file, of a database for each test, that would take minutes.
    const recovery = "-c recovery_init_sync_method=syncfs";
    const listen = `-c listen_addresses=127.0.0.1 -c port=${this.#port} -c unix_socket_directories=${join(this.#dir, "own")}`;
    const options = `${listen} ${recovery}`;
    await this.#run("pg_ctl", "-D", this.#data, "-w", "-s", "-l", `${this.#data}.log`, "-o", options, "start");
  }

  /** Ends it: connections break. "immediate" is what a crash leaves. */
  async end(how: "fast" | "immediate"): Promise<void> {
    await this.#run("pg_ctl", "-D", this.#data, "-w", "-s", "-m", how, "stop");
  }

  urlOf(database: string): string {
    return `postgres://syncline@127.0.0.1:${this.#port}/${database}`;
  }

  /** A new, empty database. */
  async database(): Promise<string> {
    const name = `t${++this.#databases}`;
    await this.sql(`CREATE DATABASE ${name}`);
    return this.urlOf(name);
  }

  async sql(text: string): Promise<string> {
    return this.#run("psql", "-X", "-A", "-t", "-c", text, this.urlOf("postgres"));
  }

  async #run(program: string, ...args: string[]): Promise<string> {
    const child = Bun.spawn([...asPostgres(), join(postgresBin(), program), ...args], {
      cwd: join(this.#dir, "own"),
      // The server inherits its outputs from pg_ctl, so a pipe would never end.
      stdout: program === "pg_ctl" ? "ignore" : "pipe",
      stderr: program === "pg_ctl" ? "ignore" : "pipe",
    });
    const texts = [child.stdout, child.stderr].map((stream) => (stream ? new Response(stream).text() : ""));
    const [out, err] = await Promise.all(texts);
    if ((await child.exited) !== 0) throw new Error(`${program}: ${out}${err}`);
    return out!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end("immediate").catch(() => undefined);
    rmSync(this.#dir, { recursive: true, force: true });
  }
}
