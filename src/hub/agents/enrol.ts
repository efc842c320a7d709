/** A host joins: it shows a join token and proves that it holds its private key, and gets a certificate of the hub. */
import { createPublicKey, verify } from "node:crypto";
import { SynclineError } from "#model/error.ts";
import type { Random } from "#platform/host.ts";
import type { MuxChannel } from "#sync/wire/mux-channel.ts";
import {
  type EnrolReply,
  decodeEnrolRequest,
  encodeControl,
  enrolmentText,
} from "#hub/agents/control.ts";
import { HOST_NAME } from "#hub/agents/link.ts";

export const ENROL_METHOD = "enrol";

export type IssuedCertificate = {
  /** PEM. */
  readonly certificate: string;
  readonly serial: string;
  /** Labels that the join token gives its hosts. */
  readonly labels: readonly string[];
};

/** The hub's certificate authority, as far as hosts are concerned. */
export interface HostAuthority {
  /** PEM of the authority's own certificate. */
  readonly ca: string;
  /**
   * Takes a join token for `host` and issues its certificate; one that the host had before is revoked.
   * @param publicKey SPKI, DER
   * @throws {SynclineError} AUTH when the token is unknown, used up, over, or not for that host
   */
  enrol(token: string, host: string, publicKey: Uint8Array, address: string): Promise<IssuedCertificate>;
  /** Another certificate for a host that has shown a valid one. */
  renew(host: string, publicKey: Uint8Array): Promise<IssuedCertificate>;
}

export type EnrolContext = {
  readonly hubId: string;
  readonly authority: HostAuthority;
  readonly random: Random;
  readonly address: string;
  /** Registers the host before it gets its certificate. */
  readonly onEnrolled: (host: string, issued: IssuedCertificate) => Promise<void>;
};

/** Serves the one conversation of an enrolment. @throws {SynclineError} AUTH, PROTOCOL, USAGE; the agent is told */
export async function serveEnrolment(channel: MuxChannel, context: EnrolContext): Promise<string> {
  const { hubId, authority, random, address } = context;
  const challenge = Buffer.from(random.bytes(32)).toString("hex");
  await channel.send(encodeControl({ hub: hubId, challenge }));
  const message = await channel.receive();
  if (message === undefined) throw new SynclineError({ code: "PROTOCOL", op: "enrol", message: "no request came" });
  const { token, host, publicKey, proof } = decodeEnrolRequest(message);
  if (!HOST_NAME.test(host)) {
    const hint = "use a-z, 0-9, - and ., at most 63 characters: --name web1";
    throw new SynclineError({ code: "USAGE", op: "enrol", message: `"${host}" cannot be a host's name`, hint });
  }
  const key = provenKey(enrolmentText("enrol", hubId, challenge, host, publicKey), publicKey, proof);
  const issued = await authority.enrol(token, host, key, address);
  await context.onEnrolled(host, issued);
  const reply: EnrolReply = { hub: hubId, certificate: issued.certificate, ca: authority.ca };
  await channel.send(encodeControl(reply));
  channel.end();
  return host;
}

/** The DER of a key whose owner signed `text`. @throws {SynclineError} AUTH */
export function provenKey(text: string, publicKey: string, proof: string): Uint8Array {
  try {
    const der = Buffer.from(publicKey, "base64");
    const key = createPublicKey({ key: der, format: "der", type: "spki" });
    if (key.asymmetricKeyType !== "ec" || key.asymmetricKeyDetails?.namedCurve !== "prime256v1") {
      throw new Error("another kind of key than ECDSA P-256");
    }
    if (!verify("sha256", Buffer.from(text), key, Buffer.from(proof, "base64"))) throw new Error("a wrong signature");
    return der;
  } catch (cause) {
    const message = `the host has not proved that the key is its own: ${cause instanceof Error ? cause.message : "?"}`;
    throw new SynclineError({ code: "AUTH", op: "enrol", message, cause });
  }
}
