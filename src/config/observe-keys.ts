/** The keys of a hub's configuration that are about what it tells of itself (hub-keys.ts has the others). */
import type { KeySpec } from "#config/hub-keys.ts";

export const OBSERVE_KEYS = {
  otlpEndpoint: {
    type: "text",
    pattern: /^https?:\/\/[^\s?#]+$/,
    grammar: "the address of an OpenTelemetry collector, like http://127.0.0.1:4318",
    fallback: "none",
    help: "traces and metrics go to this OpenTelemetry collector (OTLP over HTTP), below /v1/traces and /v1/metrics",
    value: "URL",
    isReloadable: true,
  },
  otlpHeadersFile: {
    type: "text",
    pattern: /^.+$/,
    grammar: "a file",
    fallback: "none",
    help: 'file with headers for the collector, one "Name: value" a line',
    value: "FILE",
    isReloadable: true,
  },
  traceRatio: {
    type: "text",
    pattern: /^(0(\.\d{1,6})?|1(\.0{1,6})?)$/,
    grammar: "a number from 0 to 1",
    fallback: "1",
    help: "part of the requests that are traced where the caller does not say; the callers of this program say",
    value: "0..1",
    isReloadable: true,
  },
} as const satisfies Record<string, KeySpec>;
