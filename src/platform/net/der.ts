/** The little of X.690 (DER, §§8, 10) that making certificates takes. */
import { isIP } from "node:net";
import { assert } from "#model/error.ts";

export const BOOLEAN = 0x01;
export const INTEGER = 0x02;
export const BIT_STRING = 0x03;
export const OCTET_STRING = 0x04;
export const UTF8_STRING = 0x0c;
export const UTC_TIME = 0x17;
export const GENERALIZED_TIME = 0x18;
export const SEQUENCE = 0x30;
export const SET = 0x31;
export const EXPLICIT_0 = 0xa0;
export const EXPLICIT_3 = 0xa3;

/** Content of one value at most; two length bytes hold no more. */
export const DER_BYTES_MAX = 65_535;

export function der(tag: number, ...parts: Uint8Array[]): Uint8Array {
  const content = Buffer.concat(parts);
  const length = content.length;
  assert(length <= DER_BYTES_MAX, "a DER value fits two length bytes");
  const head = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255];
  return Buffer.concat([Uint8Array.of(tag, ...head), content]);
}

export function oid(first: number, second: number, ...rest: number[]): Uint8Array {
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const groups = [arc & 127];
    for (let left = arc >>> 7; left > 0; left >>>= 7) groups.unshift((left & 127) | 128);
    bytes.push(...groups);
  }
  return der(0x06, Uint8Array.from(bytes));
}

/** RFC 5280 §4.1.2.5: two-digit years through 2049, four digits from 2050. Whole seconds, cut. */
export function time(ms: number): Uint8Array {
  const digits = new Date(ms).toISOString().replace(/[-:T]/g, "").slice(0, 14);
  const utc = Number(digits.slice(0, 4)) < 2050;
  return der(utc ? UTC_TIME : GENERALIZED_TIME, Buffer.from(`${utc ? digits.slice(2) : digits}Z`));
}

function addressBytes(ip: string): Uint8Array {
  if (isIP(ip) === 4) return Uint8Array.from(ip.split(".").map(Number));
  const [head = "", tail] = ip.split("::");
  const words = (text: string): number[] =>
    text === "" ? [] : text.split(":").map((word) => Number.parseInt(word, 16));
  const front = words(head);
  const back = tail === undefined ? [] : words(tail);
  const all = [...front, ...Array<number>(8 - front.length - back.length).fill(0), ...back];
  return Uint8Array.from(all.flatMap((word) => [word >> 8, word & 255]));
}

/** GeneralName: [2] DNS name or [7] IP address, in its plain form (no dotted tail, no zone). */
export function generalName(name: string): Uint8Array {
  return isIP(name) === 0 ? der(0x82, Buffer.from(name, "latin1")) : der(0x87, addressBytes(name));
}

export function pem(label: string, bytes: Uint8Array): string {
  const lines = Buffer.from(bytes).toString("base64").match(/.{1,64}/g)!;
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}
