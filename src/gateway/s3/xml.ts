/** The XML of S3: small texts out, and small strict texts in. No document types, no entities but the five. Pure. */
import { S3Error } from "#gateway/s3/s3-error.ts";

export const XML_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/";
const HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n';
/** Elements inside each other, and in one text: a thousand keys to delete have a few thousand. */
const DEPTH_MAX = 12;
const ELEMENTS_MAX = 60_000;

/** Text as it stands between tags. Control characters, which XML 1.0 cannot have, are written as S3 writes them. */
export function escapeXml(text: string): string {
  if (!/[&<>"\u0000-\u001f\u007f-\uffff]/.test(text)) return text;
  return text
    .toWellFormed()
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll(/[\u0000-\u001f\u007f\ufffe\uffff]/g, (char) => `&#x${char.charCodeAt(0).toString(16)};`);
}

/** One element with text in it; nothing where there is no text. */
export function element(name: string, text: string | number | boolean | undefined): string {
  return text === undefined ? "" : `<${name}>${typeof text === "string" ? escapeXml(text) : text}</${name}>`;
}

export function document(root: string, inner: string): Uint8Array {
  return Buffer.from(`${HEAD}<${root} xmlns="${XML_NAMESPACE}">${inner}</${root}>`);
}

/** Errors have no namespace. */
export function plainDocument(root: string, inner: string): Uint8Array {
  return Buffer.from(`${HEAD}<${root}>${inner}</${root}>`);
}

/** An element that was read: names without their prefix, attributes passed over. */
export type XmlElement = { readonly name: string; readonly children: readonly XmlElement[]; readonly text: string };

export function malformedXml(why = "the XML is not well formed, or not what is asked for here"): S3Error {
  return new S3Error("MalformedXML", why);
}

type Open = { readonly tag: string; readonly name: string; readonly children: XmlElement[]; text: string };

const TAG = /<(?:(\/)([\w.:-]+)\s*|([\w.:-]+)((?:\s+[\w.:-]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*)\s*(\/?))>/y;
const SKIPPED = /(?:<\?[^?]*(?:\?(?!>)[^?]*)*\?>|<!--[^-]*(?:-(?!->)[^-]*)*-->)/y;

/** @throws {S3Error} MalformedXML */
export function parseXml(text: string): XmlElement {
  const top: Open = { tag: "", name: "", children: [], text: "" };
  const open: Open[] = [top];
  let count = 0;
  for (let at = text.charCodeAt(0) === 0xfeff ? 1 : 0; at < text.length; ) {
    const inside = open.at(-1)!;
    const less = text.indexOf("<", at);
    const between = text.slice(at, less < 0 ? text.length : less);
    if (inside === top ? between.trim() !== "" : less < 0) throw malformedXml();
    if (inside !== top) inside.text += unescape(between);
    if (less < 0) break;
    SKIPPED.lastIndex = less;
    if (SKIPPED.test(text)) {
      at = SKIPPED.lastIndex;
      continue;
    }
    TAG.lastIndex = less;
    const tag = TAG.exec(text);
    if (tag === null || ++count > ELEMENTS_MAX) throw malformedXml();
    at = TAG.lastIndex;
    if (tag[1] !== undefined) close(open, tag[2]!);
    else {
      const opened = { tag: tag[3]!, name: tag[3]!.slice(tag[3]!.indexOf(":") + 1), children: [], text: "" };
      if (open.length > DEPTH_MAX) throw malformedXml();
      open.push(opened);
      if (tag[5] === "/") close(open, opened.tag);
    }
  }
  const [root, ...more] = top.children;
  if (open.length > 1 || root === undefined || more.length > 0) throw malformedXml();
  return root;
}

function close(open: Open[], tag: string): void {
  const closed = open.pop()!;
  const outer = open.at(-1);
  if (outer === undefined || closed.tag !== tag) throw malformedXml();
  outer.children.push({ name: closed.name, children: closed.children, text: closed.text });
}

const NAMED: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

function unescape(text: string): string {
  if (!text.includes("&")) return text;
  return text.replaceAll(/&([^;&]{0,12};?)/g, (_, body: string) => {
    const entity = body.endsWith(";") ? body.slice(0, -1) : "";
    const number = /^#(?:x([0-9a-fA-F]{1,6})|(\d{1,7}))$/.exec(entity);
    const code = number === null ? Number.NaN : Number.parseInt(number[1] ?? number[2]!, number[1] === undefined ? 10 : 16);
    const known = Number.isNaN(code) ? NAMED[entity] : code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : undefined;
    if (known === undefined) throw malformedXml();
    return known;
  });
}

export function childrenOf(parent: XmlElement, name: string): XmlElement[] {
  return parent.children.filter((child) => child.name === name);
}

/** The text of a child that may be there once. @throws {S3Error} MalformedXML when it is there twice */
export function textOf(parent: XmlElement, name: string): string | undefined {
  const found = childrenOf(parent, name);
  if (found.length > 1) throw malformedXml();
  return found[0]?.text.trim();
}

/** As textOf, with the spaces around it: a key may have some. */
export function exactTextOf(parent: XmlElement, name: string): string | undefined {
  const found = childrenOf(parent, name);
  if (found.length > 1) throw malformedXml();
  return found[0]?.text;
}
