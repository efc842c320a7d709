/** Why nobody can listen at an address, as far as the system says, and what an operator does about it. */
import { isIP } from "node:net";
import { SynclineError, messageOf } from "#model/error.ts";

/** @param option that names the address, like "--listen" */
export function listenFault(cause: unknown, listen: { readonly host: string; readonly port: number }, option: string): SynclineError {
  const { host, port } = listen;
  const where = `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
  return new SynclineError({ code: "USAGE", op: "listen", ...words(cause, host, where, port, option), cause });
}

/** The runtime calls a name that it cannot find a port that is in use. */
function codeOf(cause: unknown, host: string): unknown {
  const isAddress = isIP(host) !== 0 || host === "localhost";
  return isAddress && cause instanceof Error && "code" in cause ? cause.code : undefined;
}

function words(cause: unknown, host: string, where: string, port: number, option: string): { message: string; hint: string } {
  const look = `see who has it: ss -ltnp | grep ${port}; or choose another with ${option} HOST:PORT`;
  switch (codeOf(cause, host)) {
    case "EADDRINUSE":
      return { message: `cannot listen on ${where}: another program has that port`, hint: look };
    case "EADDRNOTAVAIL":
      return {
        message: `cannot listen on ${where}: this host has no address ${host}`,
        hint: "ip address lists those it has; 0.0.0.0 stands for all of them",
      };
    case "EACCES":
    case "EPERM":
      return {
        message: `cannot listen on ${where}: that is not allowed`,
        hint: "ports below 1024 need root or CAP_NET_BIND_SERVICE",
      };
    default:
      return {
        message: `cannot listen on ${where}: the address is taken, not of this host, or not allowed (${messageOf(cause)})`,
        hint: look,
      };
  }
}
