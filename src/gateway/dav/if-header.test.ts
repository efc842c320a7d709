import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { IF_CHARS_MAX, IF_CONDITIONS_MAX, type IfState, ifHolds, parseIf, tokensOf } from "#gateway/dav/if-header.ts";

describe("the If header", () => {
  test("[DAV-3] is parsed whole, or refused", () => {
    expect(parseIf('(<a:b> ["e"]) (Not<c:d>[W/"f"])')).toEqual([
      { tag: undefined, conditions: [{ isNot: false, token: "a:b" }, { isNot: false, etag: '"e"' }] },
      { tag: undefined, conditions: [{ isNot: true, token: "c:d" }, { isNot: false, etag: 'W/"f"' }] },
    ]);
    expect(parseIf("<http://h/x> (<a:b>) (not <c:d>) </y>(<e:f>)")).toEqual([
      { tag: "http://h/x", conditions: [{ isNot: false, token: "a:b" }] },
      { tag: "http://h/x", conditions: [{ isNot: true, token: "c:d" }] },
      { tag: "/y", conditions: [{ isNot: false, token: "e:f" }] },
    ]);
    const bad = [
      "", " ", "()", "(", "(<a>", "<a>", "<a> <b> (<c>)", "<a> (<b>) <c>", "(<a>) <b> (<c>)", "(a)", '("e")', "([e])", "(<a>) x", "(Not)",
      "(Not Not <a>)", "(<a>))", `(${"<a>".repeat(IF_CONDITIONS_MAX + 1)})`, `(<${"a".repeat(IF_CHARS_MAX)}>)`,
    ];
    expect(bad.filter((text) => parseIf(text) !== undefined)).toEqual([]);
  });

  test("[DAV-3] any text is parsed or refused; cut off anywhere it is never taken for more than it says", () => {
    const pieces = fc.constantFrom("(", ")", "<", ">", "[", "]", '"', "Not", " ", "a:b", "<a:b>", '["e"]', "W/", "\t", "\n");
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 30 }).map((parts) => parts.join("")), (text) => {
        const lists = parseIf(text) ?? [];
        const count = lists.reduce((sum, { conditions }) => sum + conditions.length, 0);
        expect(count).toBeLessThanOrEqual(text.length / 3);
      }),
      { numRuns: 3000 },
    );
  });

  test("[DAV-3] holds when one of its lists does, each for its own resource", async () => {
    const states: Record<string, IfState> = {
      own: { tokens: new Set(["t:1"]), etag: '"e"' },
      "/other": { tokens: new Set(["t:2"]), etag: undefined },
    };
    const holds = (text: string): Promise<boolean> => ifHolds(parseIf(text)!, (tag) => Promise.resolve(states[tag ?? "own"]));
    const cases: Record<string, boolean> = {
      "(<t:1>)": true,
      "(<t:2>)": false,
      '(<t:1> ["e"])': true,
      '(<t:1> ["f"])': false,
      '(<t:2>) (["e"])': true,
      "(Not <t:2>)": true,
      "(Not <t:1>)": false,
      "(<DAV:no-lock>)": false,
      '(Not ["f"] Not <DAV:no-lock>)': true,
      "</other> (<t:2>)": true,
      "</other> (<t:1>)": false,
      '</other> (Not ["e"])': true,
      "</none> (<t:1>) </other> (<t:2>)": true,
      "</none> (Not <t:1>)": true,
      "</none> (<t:1>)": false,
    };
    for (const [text, expected] of Object.entries(cases)) expect([text, await holds(text)]).toEqual([text, expected]);
    expect([...tokensOf(parseIf('</x> (<a:1> Not <a:2> ["<a:3>"]) (<a:4>)')!)]).toEqual(["a:1", "a:4"]);
  });
});
