import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { appendFileSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "#platform/host-bun.ts";
import { type SshOptions, connectOverSsh, splitWords } from "#sync/transport/ssh.ts";

const never = new AbortController().signal;

/**
 * Stands in for the ssh program: takes the options that we pass, keeps a control socket's name alive for -N, and runs
 * the command here with $FAR as home. It ends as the file `mood` says, so that failures can be shown, too.
 */
const FAKE_SSH = `#!/bin/sh
echo "$*" >> "$FAR/commands"
master=
while [ "$1" != -- ]; do
  case "$1" in ControlPath=*) socket="\${1#ControlPath=}" ;; -N) master=1 ;; esac
  shift
done
shift; shift
. "$FAR/mood"
if [ -n "$master" ]; then : > "$socket"; exec sleep 60; fi
HOME="$FAR" exec sh -c "$*"
`;

/** Stands in for the executable: the agent's half, on the sources of this checkout. */
const AGENT = `
import { systemClock } from ${JSON.stringify(join(import.meta.dirname, "../../platform/host-bun.ts"))};
import { ownStdio } from ${JSON.stringify(join(import.meta.dirname, "../../platform/net/stream-transport.ts"))};
import { serveStdio } from ${JSON.stringify(join(import.meta.dirname, "../endpoint/serve.ts"))};
import { MemoryEndpoint } from ${JSON.stringify(join(import.meta.dirname, "../../testing/memory-endpoint.ts"))};
const never = new AbortController().signal;
await serveStdio({ transport: ownStdio(), openEndpoint: () => new MemoryEndpoint(), clock: systemClock, program: "agent" }, never);
`;

describe("ssh", () => {
  let dir: string;
  let far: string;
  let options: SshOptions;

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "syncline-ssh-"));
    far = mkdtempSync(join(tmpdir(), "syncline-far-"));
    writeFileSync(join(far, "mood"), "");
    writeFileSync(join(dir, "ssh"), FAKE_SSH.replaceAll("$FAR", far), { mode: 0o700 });
    writeFileSync(join(dir, "agent.ts"), AGENT);
    writeFileSync(join(dir, "binary"), `#!/bin/sh\nexec '${process.execPath}' '${join(dir, "agent.ts")}' "$@"\n`);
    options = {
      target: { user: "me", host: "far.example", port: 2222 },
      path: "/srv/www",
      command: `'${join(dir, "ssh")}' -o "Some Option=yes"`,
      version: "1.2.3",
      program: "syncline test",
      clock: systemClock,
      binaryFor: () => join(dir, "binary"),
    };
  });

  afterEach(() => {
    rmSync(dir, { recursive: true });
    rmSync(far, { recursive: true });
  });

  const commands = (): string[] => readFileSync(join(far, "commands"), "utf8").trim().split("\n");
  const cached = (): string[] => readdirSync(join(far, ".cache/syncline"));
  const failure = (): Promise<unknown> => connectOverSsh(options, never).then((mux) => mux.close(), (error: unknown) => error);

  test("[SSH-1] copies the executable once, verified, and speaks with it over one shared connection", async () => {
    const mux = await connectOverSsh(options, never);
    expect(mux.label).toBe("ssh me@far.example");
    expect(cached()).toHaveLength(1);
    const copy = join(far, ".cache/syncline", cached()[0]!, "syncline");
    expect(cached()[0]).toMatch(/^1\.2\.3-[0-9a-f]{16}$/);
    expect(statSync(copy).mode & 0o777).toBe(0o700);
    expect(readdirSync(join(copy, ".."))).toEqual(["syncline"]);
    expect(commands()).toHaveLength(4);
    const control = /ControlPath=(\S+)/.exec(commands()[0]!)![1]!;
    expect(commands().every((line) => line.includes(`ControlPath=${control}`) && line.includes("-p 2222"))).toBe(true);
    expect(commands()[0]).toContain("-o Some Option=yes");
    mux.close();
    await mux.closed;
    while (existsSync(control)) await new Promise((resolve) => setImmediate(resolve));
    const again = await connectOverSsh(options, never);
    expect(commands()).toHaveLength(7);
    again.close();
  });

  test("[SSH-10] a known executable is not hashed again, until it is another", async () => {
    options = { ...options, hashFile: join(dir, "hashes") };
    (await connectOverSsh(options, never)).close();
    const kept = JSON.parse(readFileSync(join(dir, "hashes"), "utf8")) as Record<string, { stamp: string; hash: string }>;
    const [path] = Object.keys(kept);
    // What is written there is believed, so a hash that was computed again would show.
    const other = "f".repeat(64);
    writeFileSync(join(dir, "hashes"), JSON.stringify({ [path!]: { ...kept[path!], hash: other } }));
    expect(await failure()).toMatchObject({ code: "DISK" });
    appendFileSync(join(dir, "binary"), "# changed\n");
    (await connectOverSsh(options, never)).close();
    expect(readFileSync(join(dir, "hashes"), "utf8")).not.toContain(other);
    writeFileSync(join(dir, "hashes"), "damaged");
    (await connectOverSsh(options, never)).close();
  });

  test("[SSH-2] a damaged copy is replaced", async () => {
    (await connectOverSsh(options, never)).close();
    const copy = join(far, ".cache/syncline", cached()[0]!, "syncline");
    writeFileSync(copy, "#!/bin/sh\nexit 0\n");
    (await connectOverSsh(options, never)).close();
    expect(readFileSync(copy, "utf8")).toBe(readFileSync(join(dir, "binary"), "utf8"));
  });

  test("[SSH-3] a copy that does not arrive as it was sent is not kept", async () => {
    writeFileSync(join(far, "mood"), 'case "$*" in *"cat >"*) { cat; echo more; } | HOME="' + far + '" sh -c "$*"; exit ;; esac\n');
    expect(await failure()).toMatchObject({ code: "DISK", hint: expect.any(String) });
    expect(readdirSync(join(far, ".cache/syncline", cached()[0]!))).toEqual([]);
  });

  test("[SSH-4] says what ssh said when it cannot connect or log in", async () => {
    writeFileSync(join(far, "mood"), "echo 'ssh: connect to host far.example port 2222: Connection refused' >&2; exit 255\n");
    expect(await failure()).toMatchObject({ code: "LINK_LOST", retryable: true, message: expect.stringContaining("Connection refused") });
    writeFileSync(join(far, "mood"), "echo 'me@far.example: Permission denied (publickey).' >&2; exit 255\n");
    expect(await failure()).toMatchObject({ code: "AUTH", hint: expect.stringContaining("by hand") });
  });

  test("[SSH-5] refuses platforms without an executable, and tells how to build one", async () => {
    options = { ...options, binaryFor: () => undefined };
    expect(await failure()).toMatchObject({ code: "UNSUPPORTED", hint: expect.stringContaining("npm run build") });
    writeFileSync(join(far, "mood"), 'case "$*" in *uname*) echo "SunOS sun4v"; exit ;; esac\n');
    expect(await failure()).toMatchObject({ code: "UNSUPPORTED", message: expect.stringContaining("SunOS sun4v") });
  });

  test("[SSH-6] an agent that ends at once is reported with its last words", async () => {
    writeFileSync(join(dir, "binary"), "#!/bin/sh\necho 'cannot execute: wrong libc' >&2\nexit 1\n");
    expect(await failure()).toMatchObject({ message: expect.stringContaining("wrong libc") });
  });

  test("[SSH-7] a login script that prints is shown", async () => {
    writeFileSync(join(far, "mood"), 'case "$*" in *far-side*) echo "Welcome to far" ;; esac\n');
    expect(await failure()).toMatchObject({ code: "PROTOCOL", message: expect.stringContaining("Welcome to far") });
  });

  test("[SSH-8] a missing ssh program is a usage error, and so is an open quote", async () => {
    options = { ...options, command: join(dir, "nothing") };
    expect(await failure()).toMatchObject({ code: "USAGE" });
    expect(splitWords(`ssh -i 'a b' -o "x\\"y" c\\ d`)).toEqual(["ssh", "-i", "a b", "-o", 'x"y', "c d"]);
    expect(() => splitWords("ssh 'x")).toThrow("not closed");
  });

  test("[SSH-9] an abort ends the wait for a password", async () => {
    writeFileSync(join(far, "mood"), "exec sleep 60\n");
    const abort = new AbortController();
    const outcome = connectOverSsh(options, abort.signal).catch((error: unknown) => error);
    const reason = new Error("enough");
    setTimeout(() => abort.abort(reason), 50);
    expect(await outcome).toBe(reason);
  });
});
