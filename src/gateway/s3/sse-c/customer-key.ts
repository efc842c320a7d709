/**
 * Keys that clients send along (SSE-C), as headers have them. A key is used while its request is answered: it is in no row,
 * no log, no answer and no error.
 */
import { type Header, type S3Call, header } from "#gateway/s3/s3-call.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";

export type CustomerKey = {
  /** 32 bytes. */
  readonly key: Uint8Array;
  /** In base64, as it was sent, compared with the key. */
  readonly md5: string;
};

const OBJECT = "x-amz-server-side-encryption-customer-";
const SOURCE = "x-amz-copy-source-server-side-encryption-customer-";
const KEY_BYTES = 32;
const MD5_BYTES = 16;

const invalid = (message: string): S3Error => new S3Error("InvalidArgument", message);

/**
 * The key that a request brings for its object, or for the source of a copy; undefined: it brings none.
 * @throws {S3Error} InvalidRequest over plain HTTP, InvalidEncryptionAlgorithmError, InvalidArgument
 */
export function customerKey(call: S3Call, of: "object" | "source"): CustomerKey | undefined {
  const prefix = of === "object" ? OBJECT : SOURCE;
  const [algorithm, key, md5] = ["algorithm", "key", "key-md5"].map((name) => header(call, prefix + name));
  if (algorithm === undefined && key === undefined && md5 === undefined) return undefined;
  if (!call.services.isSecure) {
    throw new S3Error("InvalidRequest", "a key of the client is taken over HTTPS alone: ask the hub to listen with TLS");
  }
  if ([...call.request.query.keys()].some((name) => name.toLowerCase() === `${prefix}key`)) {
    throw new S3Error("InvalidRequest", "the key belongs into a header: addresses are kept in logs");
  }
  if (algorithm === undefined) throw invalid(`${prefix}algorithm is missing`);
  if (algorithm !== "AES256") throw new S3Error("InvalidEncryptionAlgorithmError", "the only algorithm is AES256");
  if (key === undefined) throw invalid(`${prefix}key is missing`);
  if (md5 === undefined) throw invalid(`${prefix}key-MD5 is missing`);
  if (of === "object" && header(call, "x-amz-server-side-encryption") !== undefined) {
    throw invalid("an object is encrypted with a key of the client or one of the server, not with both");
  }
  const bytes = base64(key, KEY_BYTES);
  if (bytes === undefined) throw invalid("the key is not 32 bytes in base64");
  const digest = base64(md5, MD5_BYTES)?.toHex();
  if (digest !== new Bun.CryptoHasher("md5").update(bytes).digest("hex")) throw invalid("the MD5 of the key is another");
  return { key: bytes, md5 };
}

function base64(text: string, bytes: number): Uint8Array | undefined {
  try {
    const found = Uint8Array.fromBase64(text);
    return found.length === bytes ? found : undefined;
  } catch {
    return undefined;
  }
}

/** What an answer says of the key that was used. */
export function keyHeaders(key: CustomerKey | undefined): Header[] {
  return key === undefined ? [] : [[`${OBJECT}algorithm`, "AES256"], [`${OBJECT}key-md5`, key.md5]];
}
