/**
 * `syncline serve`: offer directories to other hosts over TLS. A root that is not there is told and offered all the same:
 * its disk may be mounted later. Until then whoever asks for it is refused, so that its absence passes for no emptiness.
 */
import { resolve } from "node:path";
import type { Command } from "#cli/context.ts";
import { isAddress, openHost, serveRoots } from "#cli/engine.ts";
import { EXIT } from "#cli/exit-code.ts";
import { readIdentity, validityWarning } from "#cli/given-identity.ts";
import { readSmallFile, readTokens } from "#cli/local-files.ts";
import { nearest, usage } from "#cli/values.ts";
import { printablePath } from "#model/path.ts";
import { canonicalPath } from "#platform/folders.ts";
import { rootTrouble } from "#sync/endpoint/root-identity.ts";
import type { ServedRoot } from "#sync/endpoint/serve.ts";
import { addressText } from "#platform/net/address-text.ts";

const LISTEN_DEFAULT = "127.0.0.1:7820";
/** Names are parts of addresses: syncline://host:port/NAME/sub. */
const ROOT_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

export const serveCommand: Command = async (context) => {
  const { output, signal } = context;
  const { given } = context.parsed;
  const roots = (given.root ?? []).map(parseRoot);
  if (roots.length === 0) throw usage("nothing to serve", "--root NAME=PATH, or NAME=PATH,ro for read-only");
  const twice = roots.find((root, at) => roots.findIndex((other) => other.name === root.name) !== at);
  if (twice !== undefined) throw usage(`--root: "${twice.name}" is named twice`);
  const tokenFile = given["token-file"];
  if (tokenFile === undefined && given["client-ca"] === undefined) {
    throw usage(
      "who may connect?",
      "--token-file FILE (head -c 32 /dev/urandom | base64 > FILE), or --client-ca FILE",
    );
  }
  const identity = readIdentity({ cert: "cert", key: "key" }, { cert: given.cert, key: given.key });
  const ended = identity === undefined ? undefined : validityWarning(identity.certificate, Date.now());
  if (ended !== undefined) output.warn(ended);
  const listen = parseListen(given.listen ?? LISTEN_DEFAULT);
  const host = await openHost();
  const server = await serveRoots({
    host,
    stateDir: context.stateDir(),
    listen,
    roots,
    tokens: tokenFile === undefined ? [] : readTokens("token-file", tokenFile),
    identity,
    clientCa: given["client-ca"] === undefined ? undefined : readSmallFile("client-ca", given["client-ca"]),
    log: (message, fields) => {
      output.event({ type: "log", message, ...fields });
      output.line(logLine(message, fields));
    },
  });
  output.event({
    type: "listening",
    host: listen.host,
    port: server.port,
    fingerprint: server.fingerprint,
    roots,
  });
  output.line(`listening on ${addressText(listen.host, server.port)}`);
  output.line(`fingerprint ${server.fingerprint}`);
  for (const root of roots)
    output.line(`  ${root.name}${root.readOnly ? " (read-only)" : ""}  ${printablePath(root.path)}`);
  for (const { name, path } of roots) {
    const trouble = rootTrouble(host.fs, canonicalPath(path));
    if (trouble === undefined) continue;
    const { message, hint } = trouble;
    output.event({ type: "log", message: "root cannot be opened now", root: name, reason: message, hint });
    const next = hint === undefined ? "" : `; ${hint}`;
    output.warn(`who asks for "${name}" is refused now: ${printablePath(message)}${printablePath(next)}`);
    output.warn(`"${name}" is served as soon as it can be opened; serve need not be restarted for that`);
  }
  await aborted(signal);
  await server.close();
  return EXIT.interrupted;
};

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((done) => signal.addEventListener("abort", () => done(), { once: true }));
}

export function logLine(message: string, fields: Readonly<Record<string, unknown>>): string {
  const parts = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}=${printablePath(String(value))}`);
  return [message, ...parts].join("  ");
}

/** "NAME=PATH", "NAME=PATH,ro", "NAME=PATH,rw". A path that ends in ",ro" itself is written with ",rw" behind it. */
export function parseRoot(text: string): ServedRoot {
  const equals = text.indexOf("=");
  const name = text.slice(0, Math.max(0, equals));
  if (!ROOT_NAME.test(name)) {
    throw usage(
      `--root: "${text}" does not begin with a name`,
      "write --root NAME=PATH; names have letters, digits, . _ -",
    );
  }
  const rest = text.slice(equals + 1);
  const option = /,(ro|rw)$/.exec(rest);
  const path = option === null ? rest : rest.slice(0, -3);
  if (path === "") {
    throw usage(`--root: "${name}" has no path`, `write --root ${name}=PATH; look for a variable that is not set`);
  }
  if (isAddress(path)) {
    const hint = "serve offers directories of this host; sync and verify take such a side themselves";
    throw usage(`--root: "${name}" is ${printablePath(path)}, which is no directory here`, hint);
  }
  const word = /,([a-z0-9-]{2,9})$/.exec(path)?.[1];
  if (option === null && word !== undefined && nearest(word, ["ro", "read-only"]) !== undefined) {
    throw usage(
      `--root: unknown option "${word}"`,
      `write ${name}=PATH,ro; if the path really ends so, add ",rw"`,
    );
  }
  return { name, path: resolve(path), readOnly: option?.[1] === "ro" };
}

/** "HOST:PORT", "[::1]:PORT", ":PORT". */
export function parseListen(text: string): { host: string; port: number } {
  const match = /^(\[[0-9a-fA-F:.]+\]|[^:[\]]*):(\d{1,5})$/.exec(text);
  const port = match === null ? Number.NaN : Number(match[2]);
  if (match === null || port > 65_535)
    throw usage(`--listen: "${text}" is no address`, "write HOST:PORT, like 0.0.0.0:7820 or [::]:7820");
  const host = match[1]!.replace(/^\[|\]$/g, "");
  return { host: host === "" ? "0.0.0.0" : host, port };
}
