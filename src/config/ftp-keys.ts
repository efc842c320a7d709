/** Keys of the FTP and FTPS listeners of a hub (hub-keys.ts has the others). */
import type { KeySpec } from "#config/hub-keys.ts";
import { LISTEN } from "#config/listen-key.ts";

const DURATION = { type: "text", pattern: /^\d+(\.\d+)?(ms|s|m|h|d|w)?$/, value: "TIME" } as const;

export const FTP_IDLE_FALLBACK = "15m";
export const FTP_STALL_FALLBACK = "2m";

export const FTP_KEYS = {
  ftpListen: {
    ...LISTEN,
    fallback: "off",
    grammar: "HOST:PORT, like 0.0.0.0:21 or [::]:21",
    help: "address for FTP, which clients secure with AUTH TLS; port 0 picks one",
  },
  ftpsListen: {
    ...LISTEN,
    fallback: "off",
    grammar: "HOST:PORT, like 0.0.0.0:990 or [::]:990",
    help: "address for FTP in TLS from the first byte on (implicit FTPS); port 0 picks one",
  },
  ftpPassivePorts: {
    type: "text",
    pattern: /^[1-9]\d{0,4}-[1-9]\d{0,4}$/,
    grammar: "FIRST-LAST, like 50000-50099",
    fallback: "any free port",
    help: "ports on which FTP clients open data connections; clients at different addresses share them",
    value: "FIRST-LAST",
  },
  ftpPassiveAddress: {
    type: "text",
    pattern: /^\d{1,3}(\.\d{1,3}){3}$/,
    grammar: "an IPv4 address",
    fallback: "the address that the client has connected to",
    help: "the address of this hub that PASV tells, where clients reach it through a translated one",
    value: "ADDRESS",
  },
  ftpTls: {
    type: "text",
    pattern: /^(auto|always|optional)$/,
    grammar: "auto, always or optional",
    fallback: "auto",
    help: "auto: FTP in clear only from this host itself; always: TLS for all; optional: as the client likes",
    value: "auto|always|optional",
  },
  ftpDataSession: {
    type: "text",
    pattern: /^(off|prefer|require)$/,
    grammar: "off, prefer or require",
    fallback: "prefer",
    help:
      "whether a protected data connection must resume the TLS session of its control connection; prefer logs the " +
      "ones that do not (Python's ftplib never does)",
    value: "POLICY",
  },
  ftpProxies: {
    type: "list",
    pattern: /^[0-9a-fA-F.:]{2,45}$/,
    grammar: "IP addresses",
    fallback: "none",
    help: "load balancers whose connections, control and data, begin with a PROXY header (v1 or v2) that is believed",
    value: "ADDRESS,...",
  },
  ftpIdle: {
    ...DURATION,
    grammar: "a time, like 15m",
    fallback: FTP_IDLE_FALLBACK,
    help: "an FTP session without a command for this long is ended; transfers do not count as idle",
  },
  ftpStall: {
    ...DURATION,
    grammar: "a time, like 2m",
    fallback: FTP_STALL_FALLBACK,
    help: "an FTP transfer in which nothing moves for this long is aborted",
  },
  ftpRates: {
    type: "list",
    pattern: /^(\*|[a-z0-9][a-z0-9._@-]{0,63})=\d+(\.\d+)?\s*[A-Za-z]*$/,
    grammar: "USER=BYTES, like ann=10MiB, or *=BYTES for all others",
    fallback: "no limit",
    help: "bytes a second that a user's FTP transfers move at most, all of one direction together",
    value: "USER=BYTES,...",
  },
  ftpActive: {
    type: "text",
    pattern: /^(on|off)$/,
    grammar: "on or off",
    fallback: "on",
    help: "whether FTP clients may have data connections made to them (PORT, EPRT); only ever to their own address",
    value: "on|off",
  },
} as const satisfies Record<string, KeySpec>;
