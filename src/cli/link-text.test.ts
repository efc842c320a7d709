import { expect, test } from "bun:test";
import { parseLink, parseLinkChange, settingWords } from "#cli/link-text.ts";

test("[AGENT-40] a link is read from its end: roots may hold = and ,", () => {
  expect(parseLink("/srv/site=demo")).toMatchObject({
    root: "/srv/site", space: "demo", prefix: "",
    settings: { mode: "two-way-safe", from: "host", settle: "throttle", conflict: "copy", windows: [], bytesPerSecond: null, scrubEveryMs: null },
  });
  expect(parseLink("/a=b,c/d=demo:x/y,mode=one-way-replica,settle=immediate,bwlimit=1MiB,scrub=30d,ignore=*.tmp,ignore=/x,window=mon-fri 22:00-06:00")).toMatchObject({
    root: "/a=b,c/d", space: "demo", prefix: "x/y",
    settings: {
      mode: "one-way-replica", settle: "immediate", bytesPerSecond: 1 << 20, scrubEveryMs: 30 * 86_400_000, ignore: ["*.tmp", "/x"], windows: ["mon-fri 22:00-06:00"],
    },
  });
});

test("[AGENT-40] what is no link is refused with its form", () => {
  for (const text of ["", "/a", "=demo", "/a=", "/a=Demo", "/a=demo:../x", "/a=demo,mode=both", "/a=demo,sttle=immediate", "/a=demo,mode=one-way-safe,mode=one-way-safe", "/a=demo,bwlimit=x", "/a=demo,scrub=never", "/a=demo,scrub=3000d", "/a=demo,window=8-9"]) {
    expect(() => parseLink(text)).toThrow(expect.objectContaining({ code: "USAGE" }));
  }
});

test("[CLI-47] a change of a link holds what is named and nothing else", () => {
  expect(parseLinkChange(["settle=debounce", "enabled=no"])).toEqual({ enabled: false, settings: { settle: "debounce" } });
  expect(parseLinkChange(["root=/a", "space=demo", "prefix=/x/"])).toEqual({ root: "/a", space: "demo", prefix: "x" });
  expect(parseLinkChange(["ignore=*.a", "ignore=b", "bwlimit=", "scrub=", "window="])).toEqual({
    settings: { ignore: ["*.a", "b"], bytesPerSecond: null, rates: [], scrubEveryMs: null, windows: [] },
  });
  for (const words of [["settle"], ["settle=fast"], ["enabled=maybe"], ["space=a", "space=b"], ["speed=1"], ["window=8-9"]]) {
    expect(() => parseLinkChange(words)).toThrow(expect.objectContaining({ code: "USAGE" }));
  }
});

test("[AGENT-41] limits for some hours, priorities and releases are read, and shown as they are written", () => {
  const { settings } = parseLink("/srv/site=demo,priority=-5,bwlimit=1MiB,bwlimit=none 22:00-06:00,bwlimit=10K mon-fri 08:00-18:00,mode=one-way-replica,from=space,apply=release,keep=3");
  expect(settings).toMatchObject({
    priority: -5, bytesPerSecond: 1 << 20, apply: "release", keepReleases: 3,
    rates: [{ window: "22:00-06:00", bytesPerSecond: null }, { window: "mon-fri 08:00-18:00", bytesPerSecond: 10 << 10 }],
  });
  expect(settingWords(settings)).toEqual([
    "mode=one-way-replica", "from=space", "priority=-5", "apply=release", "keep=3", "bwlimit=1.0 MiB/s", 'bwlimit="none 22:00-06:00"',
    'bwlimit="10.0 KiB/s mon-fri 08:00-18:00"',
  ]);
  for (const text of ["apply=release", "priority=x", "priority=101", "keep=0", "bwlimit=1M 8-9", "apply=release,mode=one-way-safe"]) {
    expect(() => parseLink(`/a=demo,${text}`)).toThrow(expect.objectContaining({ code: "USAGE" }));
  }
});
