/** What the configuration says of the collector of traces and metrics. */
import { SynclineError } from "#model/error.ts";
import type { HubConfig } from "#config/hub-config.ts";

/**
 * Undefined: there is none.
 * @param read gives the text of a file
 * @throws {SynclineError} USAGE that names file and line of what is no header; what `read` throws
 */
export function otlpSettingsOf(
  { otlpEndpoint: endpoint, otlpHeadersFile: file }: HubConfig,
  read: (file: string) => string,
): { readonly endpoint: string; readonly headers: Readonly<Record<string, string>> } | undefined {
  if (endpoint === undefined) return undefined;
  return { endpoint, headers: file === undefined ? {} : headersOf(read(file), file) };
}

/** One "Name: value" a line; empty lines and those that begin with "#" are skipped. */
function headersOf(text: string, file: string): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [at, line] of text.split("\n").entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):\s*([\x20-\x7e]*?)\s*$/.exec(line) ?? [];
    if (name === undefined || value === undefined) {
      const message = `${file}:${at + 1}: this is no header`;
      throw new SynclineError({ code: "USAGE", op: "read headers", path: file, message, hint: "write Name: value" });
    }
    headers[name] = value;
  }
  return headers;
}
