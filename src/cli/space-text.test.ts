import { describe, expect, test } from "bun:test";
import type { JournalJson, SpaceJson } from "#gateway/api/shapes.ts";
import { journalRow } from "#cli/commands/space-journal.ts";
import type { Context } from "#cli/context.ts";
import { parseTarget } from "#cli/hub-client.ts";
import { parse } from "#cli/parse.ts";
import { settingRows, settingsOf } from "#cli/space-settings.ts";
import { SynclineError } from "#model/error.ts";

const TIME = "2026-11-26T01:00:00.000Z";
const ESC = "\u001b[31m";

const settings = (...words: string[]) => settingsOf({ parsed: parse(["space", "set", "site", ...words], {}) } as unknown as Context);

describe("spaces in words", () => {
  test("[CLI-124] settings of a space hold what is named and nothing else, and are told in words", () => {
    expect(settings()).toBeUndefined();
    expect(settings("--quota", "1GiB")).toEqual({ quotaBytes: 1 << 30 });
    expect(settings("--quota", "none", "--entries", "none", "--keep-versions", "all", "--keep-for", "all", "--ignore", "none")).toEqual({
      quotaBytes: null,
      quotaEntries: null,
      ignore: [],
      retention: { versions: null, ageSeconds: null },
    });
    expect(settings("--entries", "7", "--keep-for", "90d", "--ignore", "*.tmp", "--ignore", "/x")).toEqual({
      quotaEntries: 7,
      ignore: ["*.tmp", "/x"],
      retention: { ageSeconds: 90 * 86_400 },
    });
    for (const [option, text] of [["entries", "-1"], ["entries", "1.5"], ["keep-versions", "none"], ["quota", "x"], ["keep-for", "1y2"]]) {
      expect(() => settings(`--${option}=${text}`)).toThrow(SynclineError);
    }
    const space: SpaceJson = {
      name: "site",
      created: TIME,
      sequence: 41,
      lineage: "ab",
      usage: { bytes: 5, entries: 2 },
      settings: { quotaBytes: null, quotaEntries: 1000, retention: { versions: 3, ageSeconds: 86_400 * 90 }, ignore: [`a${ESC}`] },
    };
    const told = Object.fromEntries(settingRows(space).map(([name, text]) => [name!, text!]));
    expect(told).toMatchObject({ files: "5 B of any size", entries: "2 of 1,000", sequence: "41" });
    expect(told["keeps"]).toBe("the last 3 old versions of each path, each for 90 days");
    expect(told["ignores"]).not.toContain("\u001b");
  });

  test("[CLI-125] a change is one line: when, who, what, where, why, in which run", () => {
    const record: JournalJson = {
      path: "b",
      from: `a${ESC}`,
      sequence: 41,
      kind: "file",
      size: 5,
      vector: {},
      action: "move",
      previous: 40,
      time: TIME,
      commit: 41,
      actor: "user:ann",
      host: "web1",
      traceId: "c0ffee",
      cause: "restore",
      message: `because${ESC}`,
      runId: "r1",
    };
    const row = journalRow(record, true);
    expect(row).toEqual(
      ["#41", "2026-11-26 01:00:00 UTC", "user:ann on web1", "move", "5 B", row[5]!, row[6]!, "run r1", "trace c0ffee"],
    );
    expect(row.join(" ")).not.toContain("\u001b");
    expect(journalRow({ ...record, actor: "agent:web1" }, false)).toContain("agent:web1");
  });

  test("[CLI-126] what is moved or copied stays within its space, named or not", () => {
    expect(parseTarget("docs/b", "site")).toBe("docs/b");
    expect(parseTarget("site:docs/b/", "site")).toBe("docs/b");
    expect(parseTarget("site:other:b", "site")).toBe("other:b");
    expect(parseTarget("A:b", "site")).toBe("A:b");
    for (const text of ["other:b", "site:", "", "../x"]) expect(() => parseTarget(text, "site")).toThrow(SynclineError);
  });
});
