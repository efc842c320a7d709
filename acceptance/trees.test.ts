/** Real trees: every odd name and type, a git working copy, a PostgreSQL data directory. */
import { describe, expect, test } from "bun:test";
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { World, describeTree, summaryOf } from "./harness.ts";
import { asPostgres, postgresBin } from "./postgres-server.ts";

const ROOT = resolve(import.meta.dir, "..");

describe("odd trees", () => {
  test("[TREE-1] every odd name, mode, time and kind of entry arrives as it was", async () => {
    await using world = new World();
    const made = await world.command([
      "bash",
      "-c",
      `set -e; mkdir a && cd a
      for name in ' ' ' leading' 'trailing ' '-rf' '~' '*' '?' '[a]' '\\' 'back\\slash' '"' "'" '\`id\`' '$HOME' '#x' '!x' \\
        '.hidden' '...' 'a:b' 'COM1' 'x|y' '<x>' '%41' 'é' $'e\\u0301' '日本語' '😀' $'\\u202erev' $'tab\\there' $'new\\nline' \\
        $'cr\\rhere' $'bell\\a' $'\\x01' $'bad\\xff\\xfeutf8' $'\\x80' 'conflict (copy)' .gitignore; do
        printf 'content of %s' "$name" > "./$name"
      done
      printf -v long '%0255d' 7; echo long > "$long"
      deep=.; for at in $(seq 60); do deep=$deep/d$at; done; mkdir -p "$deep"; echo deep > "$deep/file"
      mkdir empty 'dir with space' $'dir\\nline' case Case; touch case/x Case/x
      : > zero; truncate -s 5M sparse; printf end >> sparse
      for mode in 400 444 600 640 755 777 4755 2755 1644; do echo $mode > "mode-$mode"; chmod $mode "mode-$mode"; done
      chmod 1777 empty; chmod 500 'dir with space'
      ln -s zero link; ln -s nowhere/at/all dangling; ln -s .. up; ln -s /etc/passwd absolute; ln -s $'odd\\xfftarget' 'odd link'; ln -s link linktolink
      touch -d '1969-12-31 23:59:58.123456789 UTC' before-epoch; touch -d '2106-02-07 06:28:17.999999999 UTC' after-2106
      touch -d '2024-02-29 12:00:00.000000001 UTC' nanosecond`,
    ]);
    expect(made.err).toBe("");
    const done = await world.run(["sync", "a", "b", "--json"]);
    expect(summaryOf(done)).toMatchObject({ result: "same", problems: 0 });
    expect(await describeTree(world.path("b"))).toBe(await describeTree(world.path("a")));
    const again = await world.run(["sync", "a", "b", "--json"]);
    expect(summaryOf(again)).toMatchObject({ result: "same", changes: 0 });
    // Holes stay holes.
    const blocks = await world.command(["bash", "-c", "stat -c %b a/sparse b/sparse"]);
    const [source, copy] = blocks.out.trim().split("\n").map(Number);
    expect(copy!).toBeLessThanOrEqual(source! + 256);
  });

  test("[TREE-2] FIFOs, sockets and devices are reported and neither copied nor opened", async () => {
    await using world = new World();
    world.write("a/file", "1");
    await world.command(["mkfifo", "a/fifo"]);
    await world.command(["bash", "-c", "mknod a/null c 1 3 2>/dev/null || true"]);
    const done = await world.run(["sync", "a", "b", "--json"]);
    expect(readFileSync(world.path("b/file"), "utf8")).toBe("1");
    expect(existsSync(world.path("b/fifo"))).toBe(false);
    expect(done.out).toContain("fifo");
    expect([0, 1]).toContain(done.code);
  });

  test("[TREE-3] hard links, xattrs and owners are kept when asked for", async () => {
    await using world = new World();
    const made = await world.command([
      "bash",
      "-c",
      `set -e; mkdir a; cd a; echo one > one; ln one two; mkdir d; ln one d/three; echo x > x
      setfattr -n user.note -v 'kept' x; chown 1234:4321 x 2>/dev/null || true`,
    ]);
    expect(made.err).toBe("");
    const done = await world.run(["sync", "a", "b", "--preserve", "all", "--json"]);
    expect(summaryOf(done)).toMatchObject({ result: "same", problems: 0 });
    const links = await world.command(["bash", "-c", "stat -c %i b/one b/two b/d/three | uniq | wc -l"]);
    expect(links.out.trim()).toBe("1");
    expect((await world.command(["getfattr", "--only-values", "-n", "user.note", "b/x"])).out).toBe("kept");
    const owners = await world.command(["stat", "-c", "%u:%g", "a/x", "b/x"]);
    expect(new Set(owners.out.trim().split("\n")).size).toBe(1);
  });
});

describe("a git working copy", () => {
  test("[TREE-4] git finds the copy clean, whole, and on the same commit", async () => {
    await using world = new World();
    const repo = world.folder("repo");
    for (const part of ["src", "tools", "bin", "acceptance", "package.json"]) {
      cpSync(join(ROOT, part), join(repo, part), { recursive: true });
    }
    const git = (dir: string, ...args: string[]) =>
      world.command([
        "git",
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@t",
        "-c",
        "init.defaultBranch=main",
        "-C",
        dir,
        ...args,
      ]);
    await git(repo, "init", "-q");
    await git(repo, "add", "-A");
    await git(repo, "commit", "-qm", "one");
    await git(repo, "checkout", "-qb", "side");
    world.write("repo/src/new.ts", "export const one = 1;\n");
    await git(repo, "add", "-A");
    await git(repo, "commit", "-qm", "two");
    await git(repo, "gc", "-q");
    await git(repo, "tag", "v1");
    expect((await git(repo, "status", "--porcelain")).out).toBe("");
    const done = await world.run(["sync", "repo", "copy", "--json"]);
    expect(summaryOf(done)).toMatchObject({ result: "same", problems: 0 });
    const copy = world.path("copy");
    expect((await git(copy, "status", "--porcelain")).out).toBe("");
    expect((await git(copy, "fsck", "--full", "--strict")).code).toBe(0);
    expect((await git(copy, "rev-parse", "HEAD")).out).toBe((await git(repo, "rev-parse", "HEAD")).out);
  });
});

describe("a PostgreSQL data directory", () => {
  test("[TREE-5] copied cold, the copy starts and answers with the same rows", async () => {
    const bin = postgresBin();
    await using world = new World();
    chmodSync(world.dir, 0o755);
    mkdirSync(world.path("pg"));
    const asRoot = process.getuid?.() === 0;
    const user = asPostgres();
    if (asRoot) await world.command(["chown", "postgres:postgres", "pg"]);
    const pg = async (program: string, ...args: string[]) => {
      const done = await world.command([...user, join(bin, program), ...args], { cwd: world.path("pg") });
      if (done.code !== 0) throw new Error(`${program}: ${done.err}${done.out}`);
      return done.out;
    };
    const start = (dir: string) =>
      pg(
        "pg_ctl",
        "-D",
        dir,
        "-w",
        "-s",
        "-l",
        `${dir}.log`,
        "-o",
        `-c listen_addresses= -c unix_socket_directories=${world.path("pg")}`,
        "start",
      );
    const query = (text: string) => pg("psql", "-h", world.path("pg"), "-d", "postgres", "-AtX", "-c", text);
    const data = world.path("pg/data");
    await pg("initdb", "-D", data, "-A", "trust", "--no-sync");
    await start(data);
    await query(
      "create table t as select n, md5(n::text) as sum from generate_series(1, 20000) n; create index on t (sum);",
    );
    const before = await query("select count(*), md5(string_agg(sum, ',' order by n)) from t");
    await pg("pg_ctl", "-D", data, "-w", "-s", "-m", "fast", "stop");
    const copy = world.path("pg/copy");
    const done = await world.run(["sync", data, copy, "--preserve", asRoot ? "+owner" : "+mode", "--json"]);
    expect(summaryOf(done)).toMatchObject({ result: "same", problems: 0 });
    if (asRoot) await world.command(["chown", "postgres:postgres", copy]);
    await world.command(["chmod", "700", copy]);
    await start(copy);
    try {
      expect(await query("select count(*), md5(string_agg(sum, ',' order by n)) from t")).toBe(before);
      expect(await query("set enable_seqscan = off; select n from t where sum = md5('777')")).toContain(
        "777",
      );
    } finally {
      await pg("pg_ctl", "-D", copy, "-w", "-s", "-m", "immediate", "stop");
    }
  });
});
