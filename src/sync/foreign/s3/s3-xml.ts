/** What an S3 server answers in XML, as far as a client needs it: the texts of elements by their name. Pure. */

const ENTITY = /&(?:#x([0-9a-fA-F]{1,6})|#(\d{1,7})|(amp|lt|gt|quot|apos));/g;
const NAMED: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

/** What stands in each element of that name, as it stands there, in order; such elements do not lie in each other. */
export function* elementsOf(xml: string, name: string): Generator<string> {
  const open = `<${name}`;
  const close = `</${name}>`;
  for (let at = xml.indexOf(open); at >= 0; at = xml.indexOf(open, at)) {
    const after = xml.charCodeAt(at + open.length);
    const end = xml.indexOf(">", at);
    if (end < 0) return;
    // A longer name, or an element without anything in it.
    if (after !== 62 && after !== 32 && after !== 47) {
      at += open.length;
      continue;
    }
    if (xml.charCodeAt(end - 1) === 47) {
      yield "";
      at = end + 1;
      continue;
    }
    const stop = xml.indexOf(close, end);
    if (stop < 0) return;
    yield xml.slice(end + 1, stop);
    at = stop + close.length;
  }
}

/** The text of the first element of that name; undefined where there is none. */
export function textOf(xml: string, name: string): string | undefined {
  for (const inner of elementsOf(xml, name)) return unescapeXml(inner);
  return undefined;
}

function unescapeXml(text: string): string {
  if (!text.includes("&")) return text;
  return text.replaceAll(ENTITY, (whole, hex: string | undefined, decimal: string | undefined, name: string | undefined) => {
    if (name !== undefined) return NAMED[name]!;
    const code = hex === undefined ? Number(decimal) : Number.parseInt(hex, 16);
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}

/** Text between tags. */
export function escapeText(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
