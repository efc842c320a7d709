import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { SHELLS, completionScript } from "#cli/completion.ts";
import { parseListen, parseRoot } from "#cli/commands/serve.ts";
import { commandHelp, overviewHelp } from "#cli/help.ts";
import {
  COMMANDS,
  OPTIONS,
  commandSpec,
  environmentName,
  isCommand,
  isOption,
  optionSpec,
} from "#cli/options.ts";
import { parse } from "#cli/parse.ts";
import { sessionOptions } from "#cli/session-options.ts";
import { parseSide } from "#cli/side-address.ts";
import {
  editDistance,
  nearest,
  parseBrake,
  parseBytes,
  parseDuration,
  parsePreserve,
  parseRate,
} from "#cli/values.ts";
import { SynclineError } from "#model/error.ts";

function refusal(body: () => unknown): { message: string; hint: string } {
  try {
    body();
  } catch (error) {
    if (error instanceof SynclineError && error.code === "USAGE")
      return { message: error.message, hint: error.hint ?? "" };
    throw error;
  }
  throw new Error("it was accepted");
}

describe("values", () => {
  test.each([
    ["0", 0],
    ["4096", 4096],
    ["10K", 10_240],
    ["10KiB", 10_240],
    ["10kB", 10_000],
    ["1.5GiB", 1_610_612_736],
    ["2MB", 2e6],
    [" 7 b ", 7],
  ])("[CLI-11] the size %s is %d bytes", (text, bytes) => {
    expect(parseBytes(text)).toBe(bytes);
  });

  test.each(["", "-1", "1e9", "10X", "KiB", "9007199254740993", "1.2.3", "0x10"])(
    "[CLI-11] %p is no size",
    (text) => {
      expect(refusal(() => parseBytes(text)).hint).toContain("10MiB");
    },
  );

  test("[CLI-11] rates, durations and limits have their grammars", () => {
    expect(parseRate("5M/s")).toBe(5 << 20);
    expect(parseRate("500kB")).toBe(500_000);
    expect(refusal(() => parseRate("0")).message).toBe('"0" is no rate');
    expect(parseDuration("90")).toBe(90_000);
    expect(parseDuration("1h30m")).toBe(5_400_000);
    expect(parseDuration("250ms")).toBe(250);
    for (const text of ["0", "", "5x", "-1s", "30d"]) refusal(() => parseDuration(text));
    expect(parseBrake("500")).toEqual({ count: 500, percent: undefined });
    expect(parseBrake("12.5%")).toEqual({ count: undefined, percent: 12.5 });
    expect(parseBrake("none")).toBeUndefined();
    for (const text of ["101%", "half", "-3", "1.5"]) refusal(() => parseBrake(text));
  });

  test("[CLI-12] --preserve replaces the default, or alters it when every word has a sign", () => {
    expect(parsePreserve("mode,xattrs")).toEqual({
      mode: true,
      mtime: false,
      owner: "none",
      xattrs: true,
      hardlinks: false,
      symlinks: false,
      sparse: false,
    });
    expect(parsePreserve("+owner,-mtime")).toMatchObject({
      mode: true,
      mtime: false,
      owner: "name",
      symlinks: true,
    });
    expect(parsePreserve("all,owner-number")).toMatchObject({ hardlinks: true, owner: "number" });
    expect(parsePreserve("none")).toMatchObject({ mode: false, sparse: false });
    for (const text of ["mode,+owner", "wings", "constructor"])
      expect(refusal(() => parsePreserve(text)).hint).toContain("xattrs");
  });

  test("[CLI-13] edit distance is a metric, and only near words are suggested", () => {
    const word = fc.string({ maxLength: 8 });
    fc.assert(
      fc.property(word, word, word, (a, b, c) => {
        expect(editDistance(a, b)).toBe(editDistance(b, a));
        expect(editDistance(a, b) === 0).toBe(a === b);
        expect(editDistance(a, c)).toBeLessThanOrEqual(editDistance(a, b) + editDistance(b, c));
      }),
    );
    expect(nearest("--max-delte", Object.keys(OPTIONS))).toBe("max-delete");
    expect(nearest("excl", ["include", "exclude"])).toBe("exclude");
    expect(nearest("zzzzzz", Object.keys(COMMANDS))).toBeUndefined();
    expect(nearest("foo", Object.keys(COMMANDS))).toBeUndefined();
    expect(nearest("nope", Object.keys(COMMANDS))).toBeUndefined();
  });
});

describe("the line", () => {
  test("[CLI-14] an unknown option is an error that names the nearest one of the command", () => {
    const { message, hint } = refusal(() => parse(["sync", "a", "b", "--exlude=x"], {}));
    expect(message).toBe("unknown option --exlude");
    expect(hint).toBe("did you mean --exclude?");
    expect(refusal(() => parse(["log", "--watch"], {}))).toEqual({
      message: "--watch is no option of log",
      hint: "it belongs to: syncline sync",
    });
    expect(refusal(() => parse(["snyc"], {})).hint).toBe('did you mean "syncline sync"?');
    expect(refusal(() => parse(["--json", "sync"], {})).message).toBe("no command before --json");
  });

  test("[CLI-14] what is empty because a variable is not set is refused", () => {
    expect(refusal(() => parse(["sync", "", "b"], {})).message).toBe("an argument is empty");
    for (const option of ["--exclude=", "--include=", "--token-file="]) {
      expect(refusal(() => parse(["sync", "a", "b", option], {})).hint).toContain("variable that is not set");
    }
  });

  test("[CLI-15] options stand anywhere, -- ends them, lists add up, flags can be negated", () => {
    const line = [
      "sync",
      "--watch",
      "a",
      "--exclude",
      "*.o",
      "--exclude=*.tmp",
      "--no-accept-new",
      "--",
      "--odd",
    ];
    const { operands, given, words } = parse(line, {});
    expect(operands).toEqual(["a", "--odd"]);
    expect(given).toMatchObject({ watch: true, exclude: ["*.o", "*.tmp"], "accept-new": false });
    expect(words).toEqual(["--watch", "--exclude=*.o", "--exclude=*.tmp", "--no-accept-new"]);
    expect(parse(["sync", "a", "b", ...words], {}).given).toEqual(given);
    expect(refusal(() => parse(["sync", "a", "b", "--mode"], {})).message).toBe("--mode needs a value");
    expect(refusal(() => parse(["sync", "a", "b", "c"], {})).message).toContain('"c" is too much');
    expect(refusal(() => parse(["sync", "a", "b", "--no-mode"], {})).message).toContain("unknown option");
  });

  test("[CLI-16] the environment stands in for options, but not for those of one run, and the line wins", () => {
    const environment = {
      SYNCLINE_MODE: "one-way-safe",
      SYNCLINE_EXCLUDE: "a\nb",
      SYNCLINE_WATCH: "yes",
      SYNCLINE_APPROVE: "f00",
      SYNCLINE_DRY_RUN: "1",
    };
    const { given } = parse(["sync", "a", "b", "--exclude", "c"], environment);
    expect(given).toEqual({ mode: "one-way-safe", watch: true, exclude: ["c"] });
    expect(refusal(() => parse(["sync", "a", "b"], { SYNCLINE_SETTLE: "soon" })).message).toStartWith(
      "SYNCLINE_SETTLE: ",
    );
    expect(refusal(() => parse(["sync", "a", "b"], { SYNCLINE_WATCH: "perhaps" })).message).toStartWith(
      "SYNCLINE_WATCH: ",
    );
    expect(environmentName("max-delete")).toBe("SYNCLINE_MAX_DELETE");
  });

  test("[CLI-17] whatever the words are, they are read or refused with USAGE", () => {
    const word = fc.oneof(
      fc.string({ maxLength: 12 }),
      fc.constantFrom(
        ...Object.keys(OPTIONS).map((name) => `--${name}`),
        "--",
        "-v",
        "-",
        "--=",
        "--no-",
        "--watch=",
        "50%",
      ),
    );
    fc.assert(
      fc.property(
        fc.constantFrom(...Object.keys(COMMANDS)),
        fc.array(word, { maxLength: 6 }),
        (command, words) => {
          try {
            parse([command, ...words], {});
          } catch (error) {
            expect(error).toBeInstanceOf(SynclineError);
            expect((error as SynclineError).code).toBe("USAGE");
          }
        },
      ),
      { numRuns: 500 },
    );
  });

  test("[CLI-18] options that contradict each other are refused", () => {
    expect(refusal(() => sessionOptions({ delete: true })).hint).toContain("one-way-replica");
    expect(refusal(() => sessionOptions({ watch: true, "dry-run": true })).message).toContain("--dry-run");
    expect(sessionOptions({ delete: true, mode: "one-way-replica" })).toMatchObject({
      delete: true,
      brake: undefined,
    });
  });
});

describe("the table", () => {
  test("[CLI-131] the overview names each visible command once, in a group", () => {
    const lines = overviewHelp(100).split("\n");
    const names = lines.flatMap((line) => /^ {2}([a-z0-9-]+) /.exec(line)?.[1] ?? []);
    const visible = Object.keys(COMMANDS).filter(isCommand).filter((name) => commandSpec(name).hidden !== true);
    expect(names.toSorted()).toEqual(visible.toSorted());
    expect(lines.filter((line) => /^[A-Z][a-z ]+:$/.test(line)).length).toBeGreaterThan(4);
  });

  test("[CLI-121] a command has each of its options once", () => {
    for (const name of Object.keys(COMMANDS).filter(isCommand)) {
      const { options } = commandSpec(name);
      expect([name, ...new Set(options)]).toEqual([name, ...options]);
    }
  });

  test("[CLI-122] a word that a command does not have is told with those that it has", () => {
    expect(refusal(() => parse(["space", "craete", "x"], {}))).toEqual({
      message: 'syncline space has no "craete"',
      hint: expect.stringContaining('did you mean "create"? It has list, show, create'),
    });
    expect(refusal(() => parse(["jobs", "frobnicate"], {})).hint).toStartWith("it has list, show");
  });

  const commands = Object.keys(COMMANDS).filter(isCommand);

  test("[CLI-19] every option belongs to a command, and help shows each with its default and choices", () => {
    const used = new Set(commands.flatMap((name) => [...commandSpec(name).options]));
    expect(Object.keys(OPTIONS).filter((name) => isOption(name) && !used.has(name))).toEqual([]);
    for (const name of commands) {
      const help = commandHelp(name, 100);
      for (const option of commandSpec(name).options) {
        expect(help).toContain(`--${option}`);
        const { fallback } = optionSpec(option);
        if (fallback !== undefined)
          expect(help.replaceAll(/\s+/g, " ")).toContain(fallback.replaceAll(/\s+/g, " "));
      }
      for (const columns of [40, 80, 160]) {
        // Examples are to be pasted, and stay whole.
        const text = `${overviewHelp(columns)}${commandHelp(name, columns).split("Examples:")[0]}`;
        for (const line of text.split("\n")) expect(line.length).toBeLessThanOrEqual(columns);
      }
      expect(overviewHelp(100).includes(`  ${name} `)).toBe(commandSpec(name).hidden !== true);
    }
  });

  test("[CLI-20] each shell's completion names every visible command and option", () => {
    for (const shell of SHELLS) {
      const script = completionScript(shell);
      for (const name of commands.filter((one) => commandSpec(one).hidden !== true))
        expect(script).toContain(name);
      expect(script).not.toContain("far-side");
      for (const words of [COMMANDS.link.words, COMMANDS.agents.someWords]) expect(script).toContain(words.join(" "));
      for (const option of COMMANDS.sync.options)
        expect(script).toContain(shell === "fish" ? `-l ${option}` : `--${option}`);
    }
    const parsed = Bun.spawnSync(["bash", "-n"], { stdin: Buffer.from(completionScript("bash")) });
    expect(parsed.stderr.toString()).toBe("");
  });
});

describe("addresses", () => {
  test("[CLI-21] a side is a directory, an ssh address or a served root", () => {
    expect(parseSide("./a:b c")).toEqual({ kind: "local", path: "./a:b c" });
    expect(parseSide("ssh://me@host:2222/srv/a b")).toEqual({
      kind: "ssh",
      user: "me",
      host: "host",
      port: 2222,
      path: "/srv/a b",
    });
    expect(parseSide("ssh://[::1]/x")).toEqual({
      kind: "ssh",
      user: undefined,
      host: "::1",
      port: undefined,
      path: "/x",
    });
    expect(parseSide("syncline://h:1/NAME/sub/")).toEqual({
      kind: "tls",
      host: "h",
      port: 1,
      root: "NAME/sub",
    });
    expect(parseSide("SYNCLINE://h/N")).toEqual({ kind: "tls", host: "h", port: 7820, root: "N" });
  });

  test.each([
    "",
    "http://x/y",
    "ssh://host",
    "ssh://host/",
    "ssh://-oProxyCommand=x/y",
    "ssh://-l@host/y",
    "ssh://h:99999/x",
    "syncline://h:1",
    "syncline://user@h/N",
    "me@host:/srv",
  ])("[CLI-21] %p is refused with the right form in the hint", (text) => {
    expect(refusal(() => parseSide(text)).hint).not.toBe("");
  });

  test("[CLI-22] served roots and listening addresses", () => {
    expect(parseRoot("site=/srv/a,b")).toEqual({ name: "site", path: "/srv/a,b", readOnly: false });
    expect(parseRoot("site=/srv,ro")).toEqual({ name: "site", path: "/srv", readOnly: true });
    expect(parseRoot("site=/odd,ro,rw")).toEqual({ name: "site", path: "/odd,ro", readOnly: false });
    for (const text of ["/srv", "=x", "a b=/x", "site=", "site=,ro", "site=/srv,r0", "../x=/y", "site=ssh://host/srv"]) {
      expect([text, refusal(() => parseRoot(text)).hint]).not.toEqual([text, ""]);
    }
    expect(parseListen("[::]:0")).toEqual({ host: "::", port: 0 });
    expect(parseListen(":7820")).toEqual({ host: "0.0.0.0", port: 7820 });
    for (const text of ["host", "host:", "h:70000", "::1:80", ""]) refusal(() => parseListen(text));
  });
});
