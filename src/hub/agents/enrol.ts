/** A host joins: it shows a join token and that its private key is its own, and gets a certificate of the hub. */
import type { CertificateRequest } from "#access/hosts.ts";
import { SynclineError } from "#model/error.ts";
import type { MuxChannel } from "#sync/wire/mux-channel.ts";
import { type EnrolReply, decodeEnrolRequest, encodeControl } from "#hub/agents/control.ts";

export type IssuedCertificate = {
  /** PEM. */
  readonly certificate: string;
};

/** The hub's certificate authority, as far as hosts are concerned: what HubAccess has in several places. */
export interface HostAuthority {
  /** PEM of the authority's own certificate. */
  readonly ca: string;
  /** @throws {SynclineError} AUTH for token or proof, USAGE for the request, EXISTS when the name is another key's */
  enrol(joinToken: string, request: CertificateRequest, from: { readonly address: string }): Promise<IssuedCertificate>;
  /** @throws {SynclineError} AUTH, USAGE */
  renew(
    oldCertificate: Uint8Array,
    request: CertificateRequest,
    from: { readonly address: string },
  ): Promise<IssuedCertificate>;
  /** Undefined for a host that has not joined, or was removed. */
  labelsOf(host: string): Promise<readonly string[] | undefined>;
}

export type EnrolContext = {
  readonly hubId: string;
  readonly authority: HostAuthority;
  readonly address: string;
  /** Enters the host before it gets its certificate. */
  readonly onEnrolled: (host: string, issued: IssuedCertificate) => Promise<void>;
};

/** Serves the one conversation of an enrolment and returns the host. @throws {SynclineError} as enrol(), PROTOCOL */
export async function serveEnrolment(channel: MuxChannel, context: EnrolContext): Promise<string> {
  const { hubId, authority, address } = context;
  const message = await channel.receive();
  if (message === undefined) throw new SynclineError({ code: "PROTOCOL", op: "enrol", message: "no request came" });
  const { token, host, publicKey, proof } = decodeEnrolRequest(message);
  const issued = await authority.enrol(token, requestOf(host, publicKey, proof), { address });
  await context.onEnrolled(host, issued);
  const reply: EnrolReply = { hub: hubId, certificate: issued.certificate, ca: authority.ca };
  await channel.send(encodeControl(reply));
  channel.end();
  return host;
}

/** @param publicKey and `proof` are base64 */
export function requestOf(host: string, publicKey: string, proof: string): CertificateRequest {
  return { host, publicKey: Buffer.from(publicKey, "base64"), proof: Buffer.from(proof, "base64") };
}
