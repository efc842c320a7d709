import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  CONTROL_BYTES_MAX,
  type FromAgent,
  type FromHub,
  decodeEnrolReply,
  decodeEnrolRequest,
  decodeFromAgent,
  decodeFromHub,
  encodeControl,
} from "#hub/agents/control.ts";
import { ASSIGNED_LINK, LINK_SETTINGS, parseWindow } from "#hub/agents/link.ts";

const settings = LINK_SETTINGS.parse({});
const assigned = ASSIGNED_LINK.parse({
  id: "0123456789abcdef", root: "/a", space: "demo", prefix: "x/y", settings, enabled: true, generation: 1,
  seeds: "0".repeat(32), spaceIgnore: ["*.tmp"], trouble: null,
});
const counts = { creates: 1, replaces: 0, metadata: 0, removes: 0, moves: 0, bytes: 5 };
const agentMessages: FromAgent[] = [
  { type: "hello", version: 1, program: "syncline 0", platform: "linux", links: [{ root: "/a", space: "demo", prefix: "", settings }] },
  {
    type: "heartbeat", sentMs: 5,
    links: [{
      id: assigned.id, generation: 1, phase: "watching", sequence: 7, stored: null, backlog: 0, lagMs: 0, files: 3, conflicts: 0, problems: 0,
      changes: 2, syncedAgoMs: null, digest: null, holdHash: "abcdefabcdef", error: { code: "X", message: "m", hint: null }, pause: null, releases: null, projects: [],
    }],
  },
  { type: "hold", plan: { link: assigned.id, hash: "abcdefabcdef", reason: "r", counts: { alpha: counts, beta: counts }, changes: ["beta remove \ud800"], total: 1, removals: null } },
  { type: "renew", publicKey: "A".repeat(120), proof: "B".repeat(96) },
];
const hubMessages: FromHub[] = [
  { type: "assign", version: 1, links: [assigned] },
  { type: "approve", link: assigned.id, hash: "abcdefabcdef" },
  { type: "certificate", certificate: "c", ca: "a" },
  { type: "refused", what: "renew", message: "no" },
];
const decoders = [decodeFromAgent, decodeFromHub, decodeEnrolRequest, decodeEnrolReply];

/** A decoder gives a value or says PROTOCOL; anything else is a hole. */
function decodes(decode: (bytes: Uint8Array) => unknown, bytes: Uint8Array): boolean {
  try {
    decode(bytes);
    return true;
  } catch (error) {
    expect(error).toMatchObject({ name: "SynclineError", code: "PROTOCOL" });
    return false;
  }
}

describe("control messages", () => {
  test("[AGENT-20] what is said arrives as it was, names that are no Unicode too", () => {
    for (const message of agentMessages) expect(decodeFromAgent(encodeControl(message))).toEqual(message);
    for (const message of hubMessages) expect(decodeFromHub(encodeControl(message))).toEqual(message);
  });

  test("[AGENT-21] any bytes give a message or PROTOCOL", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => decoders.forEach((decode) => decodes(decode, bytes))));
    fc.assert(fc.property(fc.json(), (text) => decoders.forEach((decode) => decodes(decode, Buffer.from(text)))));
    expect(decodes(decodeFromAgent, new Uint8Array(CONTROL_BYTES_MAX + 1).fill(0x20))).toBe(false);
  });

  test("[AGENT-21] a message with one part changed to anything else is what its schema allows, or PROTOCOL", () => {
    const all = [...agentMessages.map((one) => [one, decodeFromAgent] as const), ...hubMessages.map((one) => [one, decodeFromHub] as const)];
    fc.assert(
      fc.property(fc.constantFrom(...all), fc.nat(), fc.jsonValue({ maxDepth: 2 }), ([message, decode], at, value) => {
        const copy = structuredClone(message) as unknown as Record<string, unknown>;
        const keys = Object.keys(copy);
        copy[keys[at % keys.length]!] = value;
        const bytes = Buffer.from(JSON.stringify(copy));
        if (decodes(decode, bytes)) expect(decode(bytes)).toEqual(JSON.parse(bytes.toString()));
      }),
      { numRuns: 500 },
    );
    for (const [message, decode] of all) {
      expect(decodes(decode, Buffer.from(JSON.stringify({ ...message, more: 1 })))).toBe(false);
    }
  });

  test("[AGENT-22] lists and texts beyond their limits are refused", () => {
    const [hello, beat, hold] = agentMessages as [FromAgent & { type: "hello" }, FromAgent & { type: "heartbeat" }, FromAgent & { type: "hold" }];
    const wrong = [
      { ...hello, links: Array.from({ length: 65 }, () => hello.links[0]) },
      { ...beat, links: [{ ...beat.links[0], sequence: -1 }] },
      { ...beat, links: [{ ...beat.links[0], id: "../../etc" }] },
      { ...beat, links: [{ ...beat.links[0], error: { code: "X", message: "m".repeat(2001), hint: null } }] },
      { ...hold, plan: { ...hold.plan, changes: Array.from({ length: 1001 }, () => "x") } },
    ];
    for (const message of wrong) expect(decodes(decodeFromAgent, Buffer.from(JSON.stringify(message)))).toBe(false);
    expect(() => encodeControl({ ...hold, plan: { ...hold.plan, changes: ["x".repeat(CONTROL_BYTES_MAX)] } })).toThrow();
  });

  test("[AGENT-23] windows: days, over midnight, all day; what is none is none", () => {
    expect(parseWindow("22:00-06:00")).toEqual({ days: [0, 1, 2, 3, 4, 5, 6], fromMinute: 1320, minutes: 480 });
    expect(parseWindow("mon-fri 08:00-17:30")).toEqual({ days: [1, 2, 3, 4, 5], fromMinute: 480, minutes: 570 });
    expect(parseWindow("sat,sun 00:00-24:00")).toEqual({ days: [0, 6], fromMinute: 0, minutes: 1440 });
    expect(parseWindow("fri-mon 00:00-00:00")).toEqual({ days: [0, 1, 5, 6], fromMinute: 0, minutes: 1440 });
    for (const text of ["", "8-9", "08:60-09:00", "24:00-01:00", "25:00-26:00", "foo 01:00-02:00", "mon-tue-wed 01:00-02:00", "mon- 01:00-02:00"]) {
      expect(parseWindow(text)).toBeUndefined();
    }
  });
});
