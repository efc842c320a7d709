import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { AwsChunked, type ChunkedOptions } from "#gateway/s3/aws-chunked.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import { parseAuthorization } from "#gateway/s3/sigv4.ts";
import {
  type Scope,
  canonicalQuery,
  canonicalRequest,
  sign,
  signingKey,
  stringToSign,
} from "#platform/net/aws-signature.ts";

const SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const SCOPE: Scope = { accessKey: "AKIAIOSFODNN7EXAMPLE", date: "20130524", region: "us-east-1" };
const TIME = "20130524T000000Z";
const KEY = signingKey(SECRET, SCOPE);

function seedOf(payload: string, more: Record<string, string>): string {
  const headers = new Map(
    Object.entries({
      "content-encoding": "aws-chunked",
      host: "s3.amazonaws.com",
      "x-amz-content-sha256": payload,
      "x-amz-date": TIME,
      "x-amz-decoded-content-length": "66560",
      "x-amz-storage-class": "REDUCED_REDUNDANCY",
      ...more,
    }),
  );
  const request = { method: "PUT", path: "/examplebucket/chunkObject.txt", query: "", headers };
  return sign(KEY, stringToSign(TIME, SCOPE, canonicalRequest(request, [...headers.keys()].sort(), payload)));
}

const chunk = (data: Uint8Array, signature: string): Buffer =>
  Buffer.concat([Buffer.from(`${data.length.toString(16)};chunk-signature=${signature}\r\n`), data, Buffer.from("\r\n")]);

const DATA = Buffer.alloc(66_560, "a");
const SEED = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
const SIGNED_BODY = Buffer.concat([
  chunk(DATA.subarray(0, 65_536), "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
  chunk(DATA.subarray(0, 1024), "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
  chunk(new Uint8Array(0), "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
]);
const SIGNED: ChunkedOptions = { signer: { key: KEY, time: TIME, scope: SCOPE, seed: SEED }, hasTrailer: false, length: 66_560 };

const TRAILER_SEED = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e";
const TRAILER_BODY = Buffer.concat([
  chunk(DATA.subarray(0, 65_536), "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2"),
  chunk(DATA.subarray(0, 1024), "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7"),
  Buffer.from("0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n"),
  Buffer.from("x-amz-checksum-crc32c:sOO8/Q==\r\n"),
  Buffer.from("x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"),
]);
const WITH_TRAILER: ChunkedOptions = { ...SIGNED, signer: { ...SIGNED.signer!, seed: TRAILER_SEED }, hasTrailer: true };

function decode(options: ChunkedOptions, pieces: readonly Uint8Array[]): { data: Buffer; trailer: ReadonlyMap<string, string> } {
  const chunked = new AwsChunked(options);
  const data: Uint8Array[] = [];
  for (const piece of pieces) chunked.push(piece, (one) => data.push(one.slice()));
  const trailer = chunked.end();
  return { data: Buffer.concat(data), trailer };
}

describe("Signature Version 4", () => {
  test("[SIGV-1] signs as AWS does: a request, its chunks and its trailer", () => {
    expect(seedOf("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", { "content-length": "66824" })).toBe(SEED);
    const payload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
    expect(seedOf(payload, { "x-amz-trailer": "x-amz-checksum-crc32c" })).toBe(TRAILER_SEED);
    expect(decode(SIGNED, [SIGNED_BODY]).data.equals(DATA)).toBe(true);
    const { data, trailer } = decode(WITH_TRAILER, [TRAILER_BODY]);
    expect(data.equals(DATA)).toBe(true);
    expect([...trailer]).toEqual([["x-amz-checksum-crc32c", "sOO8/Q=="]]);
  });

  test("[SIGV-2] a query is one text however it was spelled", () => {
    expect(canonicalQuery("b=2&a=%7e&a=%2f%20x&c&X-Amz-Signature=00", "X-Amz-Signature")).toBe("a=%2F%20x&a=~&b=2&c=");
    expect(canonicalQuery("delete")).toBe("delete=");
    expect(canonicalQuery("p=!'()*+")).toBe("p=%21%27%28%29%2A%2B");
  });

  test("[SIGV-3] what is no Authorization header is refused in words", () => {
    const good = `AWS4-HMAC-SHA256 Credential=K/20130524/any/s3/aws4_request, SignedHeaders=host, Signature=${"0".repeat(64)}`;
    expect(parseAuthorization(good, TIME).scope.region).toBe("any");
    const bad = ["", "AWS4-HMAC-SHA256", good.replace("/s3/", "/ec2/"), good.replace("host", "HOST"), good.slice(0, -1), `${good}0`];
    for (const header of bad) expect(() => parseAuthorization(header, TIME)).toThrow(S3Error);
    fc.assert(fc.property(fc.string(), (text) => {
      expect(() => parseAuthorization(`AWS4-HMAC-SHA256 ${text}`, TIME)).toThrow(S3Error);
    }));
  });
});

describe("aws-chunked", () => {
  const small = (trailer: string): Buffer => Buffer.from(`5\r\nhello\r\n6\r\n world\r\n0\r\n${trailer}`);
  const UNSIGNED: ChunkedOptions = { signer: undefined, hasTrailer: true, length: 11 };

  test("[SIGV-4] is read the same however it is split", () => {
    const body = small("x-amz-checksum-crc32:DUoRhQ==\r\n\r\n");
    for (let first = 0; first <= body.length; first++) {
      for (let second = first; second <= body.length; second++) {
        const { data, trailer } = decode(UNSIGNED, [body.subarray(0, first), body.subarray(first, second), body.subarray(second)]);
        expect(data.toString()).toBe("hello world");
        expect(trailer.get("x-amz-checksum-crc32")).toBe("DUoRhQ==");
      }
    }
    for (let at = 0; at <= TRAILER_BODY.length; at += 7) {
      expect(decode(WITH_TRAILER, [TRAILER_BODY.subarray(0, at), TRAILER_BODY.subarray(at)]).data.length).toBe(66_560);
    }
  });

  test("[SIGV-5] trailers come with the empty lines that clients put around them", () => {
    for (const end of ["a:b\r\n\r\n", "a:b\r\n", "a:b\n\r\n", "\r\na: b\r\n\r\n", "a:b", "a:b\n"]) {
      expect(decode(UNSIGNED, [small(end)]).trailer.get("a")).toBe("b");
    }
    for (const end of ["", "\r\n"]) expect(decode(UNSIGNED, [small(end)]).trailer.size).toBe(0);
    for (const end of ["no colon\r\n", "a:b\r\na:c\r\n", "x".repeat(9000)]) {
      expect(() => decode(UNSIGNED, [small(end)])).toThrow(S3Error);
    }
  });

  test("[SIGV-6] a changed, missing or further byte is refused", () => {
    for (let at = 0; at < SIGNED_BODY.length; at += at < 200 || at > 65_600 ? 1 : 4099) {
      const changed = Buffer.from(SIGNED_BODY);
      changed[at]! ^= 1;
      expect(() => decode(SIGNED, [changed])).toThrow(S3Error);
      // Some clients leave out the very last line end.
      if (at !== SIGNED_BODY.length - 2) expect(() => decode(SIGNED, [SIGNED_BODY.subarray(0, at)])).toThrow(S3Error);
    }
    expect(() => decode(SIGNED, [SIGNED_BODY, Buffer.from("x")])).toThrow(S3Error);
    expect(() => decode({ ...SIGNED, length: 66_559 }, [SIGNED_BODY])).toThrow(S3Error);
    expect(() => decode({ ...SIGNED, length: 66_561 }, [SIGNED_BODY])).toThrow(S3Error);
    const other = TRAILER_BODY.toString("latin1").replace("sOO8", "sOO9");
    expect(() => decode(WITH_TRAILER, [Buffer.from(other, "latin1")])).toThrow("signature");
    const unsigned = TRAILER_BODY.toString("latin1").replace(/x-amz-trailer-signature.*/, "");
    expect(() => decode(WITH_TRAILER, [Buffer.from(unsigned, "latin1")])).toThrow("signature");
  });

  test("[SIGV-7] garbage ends in an error of S3, never otherwise", () => {
    const any = fc.array(fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.constantFrom(Buffer.from("5\r\nhello\r\n"), Buffer.from("0\r\n"))));
    fc.assert(fc.property(any, fc.boolean(), (pieces, isSigned) => {
      try {
        decode(isSigned ? { ...SIGNED, length: 5 } : { ...UNSIGNED, length: 5 }, pieces);
      } catch (error) {
        expect(error).toBeInstanceOf(S3Error);
      }
    }));
  });
});
