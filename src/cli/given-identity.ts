/** A certificate and its key as they are named on the command line. */
import { X509Certificate, createPrivateKey } from "node:crypto";
import { readSmallFile } from "#cli/local-files.ts";
import { usage } from "#cli/values.ts";

export type GivenIdentity = { readonly certificate: string; readonly key: string };

/**
 * Both files, or neither.
 * @param names of the two options, without dashes
 * @throws {SynclineError} USAGE when one is missing, is not what it should be, or they do not belong together
 */
export function readIdentity(
  names: { readonly cert: string; readonly key: string },
  files: { readonly cert: string | undefined; readonly key: string | undefined },
): GivenIdentity | undefined {
  if ((files.cert === undefined) !== (files.key === undefined)) throw usage(`--${names.cert} and --${names.key} belong together`);
  if (files.cert === undefined || files.key === undefined) return undefined;
  const certificate = readSmallFile(names.cert, files.cert);
  const key = readSmallFile(names.key, files.key);
  const first = parsed(() => new X509Certificate(certificate), `--${names.cert}: ${files.cert} has no certificate in PEM`);
  const own = parsed(() => createPrivateKey(key), `--${names.key}: ${files.key} has no private key in PEM without a passphrase`);
  if (!first.checkPrivateKey(own)) {
    throw usage(`--${names.key}: this key is not that of the certificate`, `the certificate of the key comes first in ${files.cert}`);
  }
  return { certificate, key };
}

/** @param nowMs wall clock */
export function validityWarning(certificate: string, nowMs: number): string | undefined {
  const { validFrom, validTo } = new X509Certificate(certificate);
  const refused = "who trusts it by its authority refuses it";
  if (nowMs > Date.parse(validTo)) return `the certificate ended on ${validTo}: ${refused}`;
  return nowMs < Date.parse(validFrom) ? `the certificate begins on ${validFrom}: until then ${refused}` : undefined;
}

function parsed<T>(read: () => T, message: string): T {
  try {
    return read();
  } catch {
    throw usage(message);
  }
}
