/** The XML of S3: small texts out, and small strict texts in. No document types, no entities but the five. Pure. */
import { type XmlBounds, type XmlElement as DocumentElement, XmlFault, childElements, parseXml as parseDocument } from "#gateway/xml.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";

export const XML_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/";
const HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n';
/** A thousand keys to delete have a few thousand elements, and keys may have characters that XML has not. */
const BOUNDS: XmlBounds = { bytesMax: 3 << 20, depthMax: 12, nodesMax: 60_000, hasControls: true };

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

/** @throws {S3Error} MalformedXML */
export function parseXml(text: string): XmlElement {
  try {
    return plain(parseDocument(Buffer.from(text), BOUNDS));
  } catch (error) {
    if (error instanceof XmlFault) throw malformedXml();
    throw error;
  }
}

/** Clients differ in their namespaces, and mean the same. */
function plain(element: DocumentElement): XmlElement {
  const children = childElements(element).map(plain);
  const text = element.children.filter((child) => typeof child === "string").join("");
  return { name: element.name, children, text };
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
