import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { DAV_XML } from "#gateway/dav/xml-bounds.ts";
import { type XmlElement, XmlFault, childElements, escapeXml, parseXml as parseIn, textOf, writeXml } from "#gateway/xml.ts";

const parseXml = (bytes: Uint8Array): XmlElement => parseIn(bytes, DAV_XML);
const parse = (text: string): XmlElement => parseXml(Buffer.from(text));
const isRefused = (text: string): boolean => {
  try {
    parse(text);
    return false;
  } catch (error) {
    if (error instanceof XmlFault) return true;
    throw error;
  }
};

/** What an element is, whatever prefixes say. */
function meaning({ ns, name, attributes, children }: XmlElement): unknown {
  const said = attributes.map((one) => [one.ns, one.name, one.value]).sort();
  return [ns, name, said, children.map((child) => (typeof child === "string" ? child : meaning(child)))];
}

describe("XML", () => {
  test("[DAV-1] elements, namespaces, texts and references are read as they are meant", () => {
    const text = `<?xml version="1.0" encoding="utf-8"?><!-- c --><?p i?>
      <D:a xmlns:D="DAV:" xmlns="x" k='1 "&lt;&#65;&#x1F600;' D:k="2"><b>t&amp;<![CDATA[<&]]>u</b><c xmlns=""/></D:a>`;
    const root = parse(text);
    expect([root.ns, root.name, root.prefix]).toEqual(["DAV:", "a", "D"]);
    expect(root.attributes.map(({ ns, name, value }) => [ns, name, value])).toEqual([["", "k", '1 "<A😀'], ["DAV:", "k", "2"]]);
    const [b, c] = childElements(root);
    expect([b!.ns, textOf(b!), c!.ns]).toEqual(["x", "t&<&u", ""]);
    expect(textOf(parse("<a>1\r\n2\r3</a>"))).toBe("1\n2\n3");
    for (const encoding of ["utf16le", "utf-16be"]) {
      const bytes = Buffer.from("\ufeff<a>ü</a>", "utf16le");
      expect(textOf(parseXml(encoding === "utf16le" ? bytes : bytes.swap16()))).toBe("ü");
    }
    expect(textOf(parse("\ufeff<a>x</a>"))).toBe("x");
  });

  test("[DAV-1] what is not well formed is refused", () => {
    const bad = [
      "", " ", "x", "<a>", "<a></b>", "<a></a", "<a/>x", "<a/><b/>", "<a b/>", "<a b=c/>", "<a b='<'/>", "<a b='1' b='2'/>", "<a b='1'c='2'/>",
      "<p:a/>", "<a xmlns:p=''/>", "<a xmlns:xml='x'/>", "<a xmlns:xmlns='x'/>", "<a xmlns='http://www.w3.org/2000/xmlns/'/>",
      "<a xmlns:p='x' xmlns:q='x' p:b='1' q:b='2'/>", "<a>&nope;</a>", "<a>&</a>", "<a>&#0;</a>", "<a>&#xD800;</a>", "<a>&#x110000;</a>",
      "<a>\u0001</a>", "<a>]]></a>", "<a><!-- -- --></a>", "<a><![CDATA[</a>", "<1/>", "<a:b:c xmlns:a='x'/>", "<a><?xml version='1.0'?></a>",
      "<?xml version='1.0' encoding='latin1'?><a/>",
    ];
    expect(bad.filter((text) => !isRefused(text))).toEqual([]);
    expect(() => parseXml(Uint8Array.of(0x3c, 0x61, 0xff, 0x2f, 0x3e))).toThrow(XmlFault);
  });

  test("[DAV-2] document types, and with them entities of one's own, are refused; depth, size and elements are bounded", () => {
    const bomb = `<!DOCTYPE a [<!ENTITY b "${"x".repeat(50)}"><!ENTITY c "&b;&b;">]><a>&c;</a>`;
    const outside = `<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>`;
    for (const text of [bomb, outside, "<!DOCTYPE a><a/>", "<a><!ENTITY b 'x'></a>"]) expect(isRefused(text)).toBe(true);
    const nested = (depth: number): string => "<a>".repeat(depth) + "</a>".repeat(depth);
    expect(isRefused(nested(DAV_XML.depthMax))).toBe(false);
    expect(isRefused(nested(DAV_XML.depthMax + 1))).toBe(true);
    const wide = (count: number): string => `<a>${"<b/>".repeat(count - 1)}</a>`;
    expect(isRefused(wide(DAV_XML.nodesMax))).toBe(false);
    expect(isRefused(wide(DAV_XML.nodesMax + 1))).toBe(true);
    expect(isRefused(`<a>${" ".repeat(DAV_XML.bytesMax)}</a>`)).toBe(true);
  });

  test("[DAV-2] any text at all is read or refused, never anything else, and cut off anywhere it is refused", () => {
    const pieces = fc.constantFrom(
      "<", ">", "</", "/>", "a", "p:b", " ", "=", '"', "'", "&", ";", "&amp;", "&#", "&#x41;", "<!--", "-->", "<![CDATA[", "]]>", "<?x", "?>",
      "xmlns", "xmlns:p='q'", "xmlns=''", "<!DOCTYPE", "<a>", "</a>", "ü", "\u{1F600}", "\n", "\u0000", "<?xml version='1.0'?>",
    );
    fc.assert(
      fc.property(fc.oneof(fc.array(pieces, { maxLength: 40 }).map((parts) => parts.join("")), fc.string()), (text) => {
        expect(typeof isRefused(text)).toBe("boolean");
      }),
      { numRuns: 2000 },
    );
    const whole = `<?xml version="1.0"?><D:propfind xmlns:D="DAV:"><D:prop><x xmlns="y" a="&lt;">t<![CDATA[u]]></x></D:prop></D:propfind>`;
    for (let at = 0; at < whole.length; at++) expect(isRefused(whole.slice(0, at))).toBe(true);
    fc.assert(fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      try {
        parseXml(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(XmlFault);
      }
    }));
  });

  test("[DAV-1] what is written is read as the same, wherever it stands", () => {
    const name = fc.constantFrom("a", "b-c", "ü", "x.1");
    const prefix = fc.constantFrom("", "p", "q");
    const ns = fc.constantFrom("DAV:", "urn:x", "a&b\"'");
    const value = fc.string({ unit: fc.constantFrom("x", " ", "\n", "\t", "\r", "<", "&", '"', "'", "]]>", "ü", "\u{1F600}") });
    const tree = fc.letrec<{ element: XmlElement }>((tie) => ({
      element: fc.record({
        prefix,
        ns,
        name,
        attributes: fc.uniqueArray(fc.record({ prefix: fc.constantFrom("r", "s"), ns: fc.constant("urn:attr"), name, value }), { selector: (one) => one.name, maxLength: 3 }),
        children: fc.array(fc.oneof({ depthSize: "small" }, value.filter((text) => text !== ""), tie("element")), { maxLength: 3 })
          .map((children) => children.filter((child, at) => typeof child !== "string" || typeof children[at - 1] !== "string")),
      }),
    }));
    fc.assert(fc.property(tree.element, (element) => {
      const text = writeXml(element);
      expect(meaning(parse(text))).toEqual(meaning(element));
      expect(meaning(childElements(parse(`<D:prop xmlns:D="DAV:" xmlns="">${text}</D:prop>`))[0]!)).toEqual(meaning(element));
    }));
    expect(escapeXml("a\u0001\ud800<")).toBe("a\ufffd\ufffd&lt;");
  });
});
