/** The part of the command table (options.ts) that is about looking into a hub that runs, and what it tells of itself. */
import { HUB_KEYS, type HubKey } from "#config/hub-keys.ts";
import type { CommandSpec, OptionSpec } from "#cli/options.ts";

function keyOption(key: HubKey): { value: string; help: string; fallback: string } {
  const { value, help, fallback } = HUB_KEYS[key];
  return { value, help, fallback };
}

export const OBSERVE_CONFIG = ["otlp-endpoint", "otlp-headers-file", "trace-ratio"] as const;

export const OBSERVE_OPTIONS = {
  seconds: { type: "text", value: "N", lineOnly: true, fallback: "10", help: "for how long the processor is watched" },
  "otlp-endpoint": { type: "text", ...keyOption("otlpEndpoint") },
  "otlp-headers-file": { type: "text", complete: "file", ...keyOption("otlpHeadersFile") },
  "trace-ratio": { type: "text", ...keyOption("traceRatio") },
} as const satisfies Record<string, OptionSpec>;

export const OBSERVE_COMMANDS = {
  profile: {
    summary: "see where the time or the memory of a hub that runs goes",
    operands: "cpu FILE | heap FILE",
    min: 2,
    max: 2,
    words: ["cpu", "heap"],
    options: ["seconds", "hub", "token-file", "ca", "json", "quiet", "verbose", "state-dir", "help"],
    details: [
      "FILE is a .cpuprofile or a .heapsnapshot, which the tools of browsers and editors show. The hub is slower " +
        "meanwhile, and stands still for a heap. A heap holds whatever the hub knows: keep it to yourself.",
    ],
    examples: ["syncline profile cpu hub.cpuprofile --seconds 30"],
  },
} as const satisfies Record<string, CommandSpec>;
