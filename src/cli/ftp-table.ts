/** The part of the option table (options.ts) that is about a hub's FTP listeners. */
import { HUB_KEYS, type HubKey } from "#config/hub-keys.ts";
import type { OptionSpec } from "#cli/options.ts";

function keyOption(key: HubKey): { value: string; help: string; fallback: string } {
  const { value, help, fallback } = HUB_KEYS[key];
  return { value, help, fallback };
}

export const FTP_CONFIG = [
  "ftp-listen", "ftps-listen", "ftp-passive-ports", "ftp-passive-address", "ftp-tls", "ftp-data-session", "ftp-proxies",
  "ftp-idle", "ftp-stall", "ftp-rates", "ftp-active",
] as const;

export const FTP_OPTIONS = {
  "ftp-listen": { type: "text", ...keyOption("ftpListen") },
  "ftps-listen": { type: "text", ...keyOption("ftpsListen") },
  "ftp-passive-ports": { type: "text", ...keyOption("ftpPassivePorts") },
  "ftp-passive-address": { type: "text", ...keyOption("ftpPassiveAddress") },
  "ftp-tls": { type: "text", ...keyOption("ftpTls") },
  "ftp-data-session": { type: "text", ...keyOption("ftpDataSession") },
  "ftp-proxies": { type: "text", ...keyOption("ftpProxies") },
  "ftp-idle": { type: "text", ...keyOption("ftpIdle") },
  "ftp-stall": { type: "text", ...keyOption("ftpStall") },
  "ftp-rates": { type: "text", ...keyOption("ftpRates") },
  "ftp-active": { type: "text", ...keyOption("ftpActive") },
} as const satisfies Record<string, OptionSpec>;
