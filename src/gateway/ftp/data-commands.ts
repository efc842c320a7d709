/** Where the next data connection comes from: PASV, EPSV, PORT, EPRT (RFC 959, 2428). */
import type { CommandTable } from "#gateway/ftp/commands.ts";
import { type DataAddress, canonicalAddress, isVersion4, parseExtendedPort, parsePort, passiveText } from "#gateway/ftp/data-address.ts";
import { FtpRefusal, replyLine } from "#gateway/ftp/reply.ts";
import type { FtpSession } from "#gateway/ftp/session.ts";

/** Below are services of the system, which nobody should be made to talk to (RFC 2577). */
const ACTIVE_PORT_MIN = 1_024;

export const DATA_COMMANDS: CommandTable = {
  PASV: { needs: "user", run: passive },
  EPSV: { needs: "user", run: extendedPassive },
  PORT: { needs: "user", run: (session, argument) => active(session, parsePort(argument)) },
  EPRT: { needs: "user", run: (session, argument) => active(session, parseExtendedPort(argument)) },
};

function requireOpen(session: FtpSession): void {
  if (session.isExtendedOnly) throw new FtpRefusal(503, "EPSV ALL was sent: only EPSV is taken");
}

/** A port of ours that this client comes to. */
function portFor({ channel, shared, connection, clientAddress }: FtpSession): number {
  // The address of the socket, whatever a balancer says: that is where a port can be listened on.
  return channel.passive(shared.ports, connection.local.address, clientAddress);
}

function passive(session: FtpSession): string {
  requireOpen(session);
  const address = session.shared.settings.passiveAddress ?? session.local.address;
  if (!isVersion4(address)) throw new FtpRefusal(425, "PASV is for IPv4; send EPSV");
  return replyLine(227, `Entering Passive Mode (${passiveText({ address, port: portFor(session) })})`);
}

function extendedPassive(session: FtpSession, argument: string): string {
  const wanted = argument.trim().toUpperCase();
  if (wanted === "ALL") {
    session.isExtendedOnly = true;
    return replyLine(200, "Only EPSV from now on");
  }
  const family = isVersion4(session.local.address) ? "1" : "2";
  if (wanted !== "" && wanted !== "1" && wanted !== "2") throw new FtpRefusal(501, "EPSV takes 1, 2 or ALL");
  if (wanted !== "" && wanted !== family) throw new FtpRefusal(522, `Another protocol is spoken here, use (${family})`);
  return replyLine(229, `Entering Extended Passive Mode (|||${portFor(session)}|)`);
}

function active(session: FtpSession, to: DataAddress | "family" | undefined): string {
  requireOpen(session);
  if (!session.shared.settings.isActiveAllowed) throw new FtpRefusal(502, "Active mode is off here; send PASV or EPSV");
  if (to === undefined) throw new FtpRefusal(501, "This is no address");
  if (to === "family") throw new FtpRefusal(522, "Only IPv4 and IPv6 are spoken, use (1,2)");
  // Nobody is sent to third parties (RFC 2577).
  if (canonicalAddress(to.address) !== session.clientAddress || to.port < ACTIVE_PORT_MIN) {
    throw new FtpRefusal(504, "Data connections go only to your own address, and to no port below 1024");
  }
  session.channel.active(to);
  return replyLine(200, "Noted; data connections will be made to you");
}
