/** One large file up and down over SFTP, with OpenSSH's client, beside OpenSSH's server. What we acknowledge is durable. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { GIB, writeRandomFile } from "./lib/data.ts";
import { Running, freePort, helper, syncDisks, timed } from "./lib/processes.ts";
import { PROGRAM } from "./lib/syncline.ts";
import { type Measured, type Workload, WrongResult, scaled } from "./lib/workload.ts";

const SEED = 16;
const START_MS_MAX = 20_000;
const SFTP_SERVER = "/usr/lib/openssh/sftp-server";
/** Throughput of at least 0.4 of the peer's. */
const BAR = { of: "ratio", max: 2.5 } as const;

const row = (way: "put" | "get") =>
  ({ id: `sftp/${way}`, measure: way, unit: "s", statistic: "median", peer: "OpenSSH", bar: BAR }) as const;

/** Where a file is put, and the address of the server. */
type Side = { readonly port: number; readonly user: string; readonly folder: string };

export const sftp: Workload = {
  name: "sftp",
  title: "SFTP: 1 GiB random file with OpenSSH's client, as it comes",
  runs: 3,
  needs: [],
  rows: [row("put"), row("get")],
  async measure(context, runs) {
    const dir = join(context.dir, "sftp");
    mkdirSync(dir, { recursive: true });
    const source = join(dir, "large.bin");
    writeRandomFile(source, scaled(context, GIB), SEED);
    for (const name of ["host", "user"]) helper("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", join(dir, name));
    const user = helper("id", "-un").trim();
    await using sshd = await startSshd(dir);
    await using hub = await startHub(dir);
    const peer: Side = { port: sshd.port, user, folder: dir };
    const ours: Side = { port: hub.port, user: "bench", folder: "/bench" };
    const series = { put: { ours: [] as number[], peer: [] as number[] }, get: { ours: [] as number[], peer: [] as number[] } };
    for (let run = 1; run <= runs; run++) {
      for (const [who, side] of [["peer", peer], ["ours", ours]] as const) {
        const remote = `${side.folder}/copy-${run}.bin`;
        const back = join(dir, `back-${who}-${run}.bin`);
        const put = await transfer(dir, side, `put ${source} ${remote}`);
        const get = await transfer(dir, side, `get ${remote} ${back}`);
        if (Bun.spawnSync(["cmp", source, back]).exitCode !== 0) throw new WrongResult(`${who}: what came back differs`);
        helper("rm", back);
        series.put[who].push(put);
        series.get[who].push(get);
        context.say(`  ${run}. ${who === "ours" ? "syncline" : "OpenSSH"}: put ${put.toFixed(2)} s, get ${get.toFixed(2)} s`);
      }
    }
    return (["put", "get"] as const).map((way): Measured => ({ id: `sftp/${way}`, ...series[way] }));
  },
};

async function transfer(dir: string, side: Side, command: string): Promise<number> {
  writeFileSync(join(dir, "batch"), `${command}\n`);
  syncDisks();
  const options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "IdentitiesOnly=yes"];
  const words = ["sftp", "-F", "none", "-i", join(dir, "user"), ...options.flatMap((one) => ["-o", one])];
  const all = [...words, "-P", String(side.port), "-b", join(dir, "batch"), `${side.user}@127.0.0.1`];
  return (await timed(all, { dir, name: "client" })).seconds;
}

async function startSshd(dir: string): Promise<AsyncDisposable & { readonly port: number }> {
  const port = freePort();
  const lines = [
    `Port ${port}`, "ListenAddress 127.0.0.1", `HostKey ${join(dir, "host")}`, `AuthorizedKeysFile ${join(dir, "user.pub")}`,
    "PidFile none", "UsePAM no", "StrictModes no", "PermitRootLogin yes", `Subsystem sftp ${SFTP_SERVER}`, "",
  ];
  writeFileSync(join(dir, "sshd_config"), lines.join("\n"));
  // Privilege separation wants this directory; a package that was only unpacked has not made it.
  if (process.getuid?.() === 0) mkdirSync("/run/sshd", { recursive: true });
  const server = new Running(["/usr/sbin/sshd", "-D", "-e", "-f", join(dir, "sshd_config")], { dir, name: "sshd" });
  const said = (): true | undefined => (readFileSync(join(dir, "sshd.err"), "utf8").includes("Server listening") ? true : undefined);
  await server.until(said, "listening", START_MS_MAX);
  return { port, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

async function startHub(dir: string): Promise<AsyncDisposable & { readonly port: number }> {
  const key = readFileSync(join(dir, "user.pub"), "utf8").trim();
  const bootstrap = join(dir, "bootstrap.yaml");
  const people = `users: [{name: bench, roles: [admin]}]\nsshKeys: [{user: bench, key: "${key}"}]`;
  writeFileSync(bootstrap, `spaces: [{name: bench}]\n${people}\n`);
  const listen = ["--listen", "127.0.0.1:0", "--sync-listen", "127.0.0.1:0", "--sftp-listen", "127.0.0.1:0"];
  const command = [PROGRAM, "hub", "--data", join(dir, "hub"), ...listen, "--bootstrap", bootstrap, "--json"];
  const hub = new Running(command, { dir, name: "hub" });
  const said = (): string | undefined => /"doors":\["sftp:\/\/127\.0\.0\.1:(\d+)"/.exec(hub.output())?.[1];
  const port = Number(await hub.until(said, "listening", START_MS_MAX));
  return { port, [Symbol.asyncDispose]: () => hub[Symbol.asyncDispose]() };
}
