/**
 * Dead properties: what clients keep with a resource and the hub does not understand. Each is an attribute of its
 * version, so it goes where the path goes, over moves, copies, restores and restarts, and is in the history.
 */
import type { Version } from "#hub/space.ts";
import { DAV_XML } from "#gateway/dav/xml-bounds.ts";
import { XML_NS, type XmlElement, parseXml, writeXml } from "#gateway/xml.ts";

const ROOM = "dav.";

export type PropName = { readonly ns: string; readonly name: string };

export const keyOf = ({ ns, name }: PropName): string => `{${ns}}${name}`;

/** The attribute that a property is kept in. */
export const attributeOf = (name: PropName): string => ROOM + keyOf(name);

/** Properties of a version by key, each as the XML of its element. What is none of ours is left out. */
export function deadProperties({ attributes }: Version): Map<string, { readonly name: PropName; readonly xml: string }> {
  const found = new Map<string, { name: PropName; xml: string }>();
  for (const [attribute, text] of Object.entries(attributes)) {
    if (!attribute.startsWith(ROOM)) continue;
    try {
      const element = parseXml(Buffer.from(text), DAV_XML);
      if (attributeOf(element) === attribute) found.set(keyOf(element), { name: element, xml: writeXml(element) });
    } catch {
      // Another hub may have written it; it must not break the document that it would stand in.
      continue;
    }
  }
  return found;
}

/** What is kept of a property that a client sets. @param lang the language that it is said in further up */
export function storedValue(element: XmlElement, lang: string | undefined): string {
  const hasOwn = element.attributes.some(({ ns, name }) => ns === XML_NS && name === "lang");
  if (lang === undefined || hasOwn) return writeXml(element);
  const attribute = { prefix: "xml", ns: XML_NS, name: "lang", value: lang };
  return writeXml({ ...element, attributes: [...element.attributes, attribute] });
}

export function langOf({ attributes }: XmlElement): string | undefined {
  return attributes.find(({ ns, name }) => ns === XML_NS && name === "lang")?.value;
}
