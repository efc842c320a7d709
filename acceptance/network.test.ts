/** Two hosts: `serve` and `sync` over TLS, and ssh:// against a real OpenSSH server. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { PROGRAM, World, describeTree, eventually, isBuilt, startSshd, summaryOf } from "./harness.ts";

function sampleTree(world: World, name: string): void {
  for (let at = 0; at < 200; at++) world.write(`${name}/d${at % 7}/file ${at}`, `content ${at} `.repeat(at));
  // Above the size that travels inline, and not compressible.
  world.write(`${name}/large`, crypto.getRandomValues(new Uint8Array(60_000)).toBase64().repeat(20));
}

describe("over TLS", () => {
  test("[NET-1] a tree goes to the server and comes from it, with its metadata", async () => {
    await using world = new World();
    sampleTree(world, "a");
    world.folder("served");
    world.folder("b");
    const token = world.token();
    const { port } = await world.serve(["--root", "data=served", "--token-file", token]);
    const side = `syncline://127.0.0.1:${port}/data`;
    const there = await world.run(["sync", "a", side, "--token-file", token, "--accept-new", "--json"]);
    expect(summaryOf(there)).toMatchObject({ result: "same", files: 201 });
    const back = await world.run(["sync", side, "b", "--token-file", token, "--json"]);
    expect(summaryOf(back)).toMatchObject({ result: "same", files: 201 });
    expect(await describeTree(world.path("served"))).toBe(await describeTree(world.path("a")));
    expect(await describeTree(world.path("b"))).toBe(await describeTree(world.path("a")));
  });

  test("[NET-2] changes made on either host arrive on the other while watching", async () => {
    await using world = new World();
    world.write("a/from-a", "1");
    world.folder("served");
    const token = world.token();
    const { port } = await world.serve(["--root", "data=served", "--token-file", token]);
    const child = world.start([
      PROGRAM,
      "sync",
      "a",
      `syncline://127.0.0.1:${port}/data`,
      "--watch",
      "--settle",
      "immediate",
      "--token-file",
      token,
      "--accept-new",
      "--json",
    ]);
    await child.line((line) => line.includes('"watching"'), 20_000);
    writeFileSync(world.path("a/from-a"), "2");
    await eventually(
      "the change on the server",
      () => readFileSync(world.path("served/from-a"), "utf8") === "2",
    );
    writeFileSync(world.path("served/from-server"), "3");
    await eventually("the change at home", () => existsSync(world.path("a/from-server")));
    expect(readFileSync(world.path("a/from-server"), "utf8")).toBe("3");
  });

  test("[NET-3] a wrong token, an unknown root, an outside path and a wrong certificate are refused", async () => {
    await using world = new World();
    world.write("a/x", "secret");
    world.folder("served");
    const token = world.token();
    const wrong = world.token("wrong");
    const { port, child } = await world.serve(["--root", "data=served", "--token-file", token]);
    const sync = (root: string, ...more: string[]) =>
      world.run(["sync", "a", `syncline://127.0.0.1:${port}/${root}`, "--accept-new", ...more]);
    const unknown = await sync("data", "--fingerprint", `SHA256:${"0".repeat(64)}`, "--token-file", token);
    expect(unknown.code).toBe(3);
    const cases = [
      { done: await sync("data", "--token-file", wrong), says: /token/ },
      { done: await sync("data"), says: /token/ },
      { done: await sync("other", "--token-file", token), says: /no root "other"/ },
      { done: await sync("data/../../etc", "--token-file", token), says: /inside the root|directory/ },
    ];
    for (const { done, says } of cases) {
      expect(done.err).toMatch(says);
      expect(done.err).toContain("hint: ");
      expect(done.code).toBe(3);
    }
    expect(readdirSync(world.path("served")).filter((name) => name !== ".syncline")).toEqual([]);
    expect(child.output()).toContain("refused");
    expect(child.output()).not.toContain(readFileSync(wrong, "utf8").trim());
  });

  test("[NET-4] a read-only root can be copied from and not written to", async () => {
    await using world = new World();
    world.write("served/x", "1");
    world.write("a/y", "2");
    const token = world.token();
    const { port } = await world.serve(["--root", "data=served,ro", "--token-file", token]);
    const side = `syncline://127.0.0.1:${port}/data`;
    const write = await world.run(["sync", "a", side, "--token-file", token, "--accept-new"]);
    expect(write.code).toBe(3);
    expect(write.err).toMatch(/read-only/);
    expect(readdirSync(world.path("served"))).toEqual(["x"]);
    const read = await world.run([
      "sync",
      side,
      "b",
      "--mode",
      "one-way-replica",
      "--token-file",
      token,
      "--json",
    ]);
    expect(summaryOf(read)).toMatchObject({ result: "same", files: 1 });
    expect(readFileSync(world.path("b/x"), "utf8")).toBe("1");
    expect(readdirSync(world.path("served"))).toEqual(["x"]);
  });

  test("[NET-7] a root that is not there is told at the start and refused, and served once it is there, without a restart", async () => {
    await using world = new World();
    world.write("a/x", "1");
    const token = world.token();
    const { port, child } = await world.serve(["--root", "data=disk/served", "--token-file", token]);
    const told = JSON.parse(await child.line((text) => text.includes("root cannot be opened now"), 10_000)) as object;
    expect(told).toMatchObject({ root: "data", reason: expect.stringContaining("does not exist"), hint: expect.stringContaining("mounted") });
    const sync = () => world.run(["sync", "a", `syncline://127.0.0.1:${port}/data`, "--token-file", token, "--accept-new"]);
    const refused = await sync();
    expect([refused.code, refused.err]).toEqual([3, expect.stringMatching(/does not exist[^]*hint: /)]);
    world.folder("disk/served");
    expect((await sync()).code).toBe(0);
    expect(readFileSync(world.path("disk/served/x"), "utf8")).toBe("1");
    // It is unmounted, and then its mount point is found empty: neither takes anything away on the other side.
    renameSync(world.path("disk/served"), world.path("disk/away"));
    expect((await sync()).code).toBe(3);
    world.folder("disk/served");
    const other = await sync();
    expect([other.code, other.err]).toEqual([3, expect.stringContaining("right disk is mounted")]);
    expect(readFileSync(world.path("a/x"), "utf8")).toBe("1");
  });

  test("[NET-5] without a terminal an unknown server is refused, and a changed certificate always", async () => {
    await using world = new World();
    world.write("a/x", "1");
    world.folder("served");
    const token = world.token();
    const first = await world.serve(["--root", "data=served", "--token-file", token]);
    const sync = (...more: string[]) =>
      world.run(["sync", "a", `syncline://127.0.0.1:${first.port}/data`, "--token-file", token, ...more]);
    const unknown = await sync();
    expect(unknown.code).toBe(3);
    expect(unknown.err).toContain(first.fingerprint);
    expect((await sync("--fingerprint", first.fingerprint)).code).toBe(0);
    expect((await sync("--accept-new")).code).toBe(0);
    await first.child.end();
    // Another identity on the same port.
    const other = world.start(
      [
        PROGRAM,
        "serve",
        "--listen",
        `127.0.0.1:${first.port}`,
        "--root",
        "data=served",
        "--token-file",
        token,
        "--json",
      ],
      { SYNCLINE_STATE_DIR: world.path("other-state") },
    );
    await other.line((line) => line.includes('"listening"'), 20_000);
    const changed = await sync("--accept-new");
    expect(changed.code).toBe(3);
    expect(changed.err).toMatch(/certificate|fingerprint/);
  });

  test("[NET-6] a link that drops is taken up again by a watching session", async () => {
    await using world = new World();
    world.write("a/x", "1");
    world.folder("served");
    const token = world.token();
    const first = await world.serve(["--root", "data=served", "--token-file", token]);
    const child = world.start([
      PROGRAM,
      "sync",
      "a",
      `syncline://127.0.0.1:${first.port}/data`,
      "--watch",
      "--settle",
      "immediate",
      "--token-file",
      token,
      "--accept-new",
      "--json",
    ]);
    await child.line((line) => line.includes('"watching"'), 20_000);
    first.child.kill("SIGKILL");
    await child.line((line) => line.includes('"type":"retry"'), 20_000);
    writeFileSync(world.path("a/x"), "while it was away");
    world.start([
      PROGRAM,
      "serve",
      "--listen",
      `127.0.0.1:${first.port}`,
      "--root",
      "data=served",
      "--token-file",
      token,
    ]);
    await eventually(
      "the change",
      () => readFileSync(world.path("served/x"), "utf8") === "while it was away",
    );
  });
});

describe.if(isBuilt)("over ssh, with the standalone executable", () => {
  test("[SSH-20] the first run brings the program along, the second finds it; both ways, with metadata", async () => {
    await using world = new World();
    sampleTree(world, "a");
    world.folder("b");
    const { address, ssh } = await startSshd(world);
    const far = `ssh://${address}${world.path("far")}`;
    const first = await world.run(["sync", "a", far, "--ssh", ssh, "--json"]);
    expect(first.err).toBe("");
    expect(summaryOf(first)).toMatchObject({ result: "same", files: 201 });
    expect(await describeTree(world.path("far"))).toBe(await describeTree(world.path("a")));
    const second = await world.run(["sync", far, "b", "--ssh", ssh, "--json"]);
    expect(summaryOf(second)).toMatchObject({ result: "same", files: 201 });
    expect(await describeTree(world.path("b"))).toBe(await describeTree(world.path("a")));
  });

  test("[SSH-21] a host that cannot be reached and a key that is not accepted are told apart from our own errors", async () => {
    await using world = new World();
    world.write("a/x", "1");
    const { address, ssh } = await startSshd(world);
    const stranger = await world.run([
      "sync",
      "a",
      `ssh://${address}/nowhere`,
      "--ssh",
      ssh.replace("user_key", "host_key"),
    ]);
    expect(stranger.code).toBe(3);
    expect(stranger.err).toMatch(/[Pp]ermission denied|ssh/);
    expect(stranger.err).toContain("hint: ");
  });
});
