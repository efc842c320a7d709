/** What the configuration says of FTP, as values. */
import type { HubConfig } from "#config/hub-config.ts";
import { FTP_IDLE_FALLBACK, FTP_STALL_FALLBACK } from "#config/ftp-keys.ts";
import { flagOf, type HubKey } from "#config/hub-keys.ts";
import { readBytes, readDurationMs } from "#config/quantities.ts";
import { SynclineError } from "#model/error.ts";

export type FtpSettings = {
  /** Undefined: any free port. */
  readonly passivePorts: { readonly first: number; readonly last: number } | undefined;
  /** Of IPv4, told by PASV; undefined: the local address of the control connection. */
  readonly passiveAddress: string | undefined;
  readonly tls: "auto" | "always" | "optional";
  readonly dataSession: "off" | "prefer" | "require";
  /** Addresses whose connections begin with a PROXY header. */
  readonly proxies: ReadonlySet<string>;
  readonly idleMs: number;
  readonly stallMs: number;
  /** Bytes a second by user; "*" is everybody else. */
  readonly rates: ReadonlyMap<string, number>;
  readonly isActiveAllowed: boolean;
};

/** Shorter limits would end what is merely slow. */
const LIMIT_MS_MIN = 1_000;
const LIMIT_MS_MAX = 24 * 3_600_000;

/** @throws {SynclineError} USAGE for values that no pattern tells apart */
export function ftpSettings(config: HubConfig): FtpSettings {
  return {
    passivePorts: portsOf(config.ftpPassivePorts),
    passiveAddress: addressOf(config.ftpPassiveAddress),
    tls: (config.ftpTls as FtpSettings["tls"] | undefined) ?? "auto",
    dataSession: (config.ftpDataSession as FtpSettings["dataSession"] | undefined) ?? "prefer",
    proxies: new Set(config.ftpProxies),
    idleMs: durationOf("ftpIdle", config.ftpIdle ?? FTP_IDLE_FALLBACK),
    stallMs: durationOf("ftpStall", config.ftpStall ?? FTP_STALL_FALLBACK),
    rates: new Map((config.ftpRates ?? []).map(rateOf)),
    isActiveAllowed: config.ftpActive !== "off",
  };
}

function unusable(key: HubKey, value: string, why: string): SynclineError {
  const message = `--${flagOf(key)}: "${value}" ${why}`;
  return new SynclineError({ code: "USAGE", op: "read configuration", message, hint: `syncline config explain ${key}` });
}

function portsOf(text: string | undefined): FtpSettings["passivePorts"] {
  if (text === undefined) return undefined;
  const [first = 0, last = 0] = text.split("-").map(Number);
  if (last > 65_535 || first > last) throw unusable("ftpPassivePorts", text, "is no range of ports");
  return { first, last };
}

function addressOf(text: string | undefined): string | undefined {
  if (text?.split(".").some((part) => Number(part) > 255)) throw unusable("ftpPassiveAddress", text, "is no address");
  return text;
}

function durationOf(key: "ftpIdle" | "ftpStall", text: string): number {
  const ms = readDurationMs(text);
  if (ms === undefined || ms < LIMIT_MS_MIN || ms > LIMIT_MS_MAX) throw unusable(key, text, "is not between 1s and 1d");
  return ms;
}

function rateOf(text: string): [string, number] {
  const at = text.indexOf("=");
  const bytes = readBytes(text.slice(at + 1));
  if (bytes === undefined || bytes < 1024) throw unusable("ftpRates", text, "is not at least 1KiB a second");
  return [text.slice(0, at), bytes];
}
