/**
 * XML as doors need it: elements, namespaces, text. One parser for all of them, and our own, because it must refuse what
 * parsers are known for: document types and with them all entities but the five that every document has, so that nothing
 * can grow, be fetched or be read from a disk. Depth, bytes and elements are bounded; whatever is not well formed is
 * refused.
 */

/** What one document may have. Each door knows what its own need. */
export type XmlBounds = {
  readonly bytesMax: number;
  /** Elements within each other. */
  readonly depthMax: number;
  /** Elements and attributes. */
  readonly nodesMax: number;
  /** Characters that XML has not, but names of files may have, may stand in it; NUL may not. */
  readonly hasControls?: boolean;
};

export const XML_NS = "http://www.w3.org/XML/1998/namespace";
const XMLNS_NS = "http://www.w3.org/2000/xmlns/";

export type XmlAttribute = { readonly prefix: string; readonly ns: string; readonly name: string; readonly value: string };

export type XmlElement = {
  /** As it was written; "" is the default. Kept, because values may speak of it. */
  readonly prefix: string;
  /** "" is no namespace. */
  readonly ns: string;
  readonly name: string;
  /** Those of others than namespaces. */
  readonly attributes: readonly XmlAttribute[];
  readonly children: readonly (XmlElement | string)[];
};

/** What was wrong with a document. */
export class XmlFault extends Error {}

/** Prefixes with their namespaces, over those of the elements around: copying them would cost the product of both. */
class Scope {
  readonly #own = new Map<string, string>();
  readonly #around: Scope | undefined;

  constructor(around?: Scope) {
    this.#around = around;
  }

  get(prefix: string): string | undefined {
    return this.#own.get(prefix) ?? this.#around?.get(prefix);
  }

  set(prefix: string, ns: string): this {
    this.#own.set(prefix, ns);
    return this;
  }
}

type Open = { element: XmlElement; children: (XmlElement | string)[]; qualified: string; scope: Scope };

const START = "A-Z_a-z\\u00C0-\\u00D6\\u00D8-\\u00F6\\u00F8-\\u02FF\\u0370-\\u037D\\u037F-\\u1FFF\\u200C\\u200D" +
  "\\u2070-\\u218F\\u2C00-\\u2FEF\\u3001-\\uD7FF\\uF900-\\uFDCF\\uFDF0-\\uFFFD\\u{10000}-\\u{EFFFF}";
const NC_NAME = `[${START}][${START}\\-.0-9\\u00B7\\u0300-\\u036F\\u203F\\u2040]*`;
const QUALIFIED = new RegExp(`(?:(${NC_NAME}):)?(${NC_NAME})`, "uy");
/** Characters that no document may hold. */
const FORBIDDEN = /[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/u;
const FORBIDDEN_ALWAYS = /[\0\uD800-\uDFFF]/u;
const SPACE = /[ \t\n\r]*/y;
const ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };
const NO_SCOPE = new Scope().set("", "").set("xml", XML_NS);

/** @throws {XmlFault} */
export function parseXml(bytes: Uint8Array, bounds: XmlBounds): XmlElement {
  if (bytes.length > bounds.bytesMax) throw new XmlFault(`the document has more than ${bounds.bytesMax} bytes`);
  return new Parser(decode(bytes, forbiddenIn(bounds)), bounds).document();
}

const forbiddenIn = ({ hasControls }: XmlBounds): RegExp => (hasControls === true ? FORBIDDEN_ALWAYS : FORBIDDEN);

function decode(bytes: Uint8Array, forbidden: RegExp): string {
  const mark = (bytes[0] ?? 0) * 256 + (bytes[1] ?? 0);
  const encoding = mark === 0xfeff ? "utf-16be" : mark === 0xfffe ? "utf-16le" : "utf-8";
  let text: string;
  try {
    text = new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch {
    throw new XmlFault(`the document is no ${encoding}`);
  }
  const declared = /^<\?xml[^>]*?\sencoding\s*=\s*["']([^"']*)["']/.exec(text)?.[1]?.toLowerCase() ?? encoding;
  if (!(encoding === "utf-8" ? /^(utf-8|us-ascii)$/ : /^utf-16(le|be)?$/).test(declared)) {
    throw new XmlFault("the document is written in an encoding that is not known here");
  }
  if (forbidden.test(text)) throw new XmlFault("the document holds a character that XML has not");
  return text.replaceAll(/\r\n?/g, "\n");
}

class Parser {
  readonly #text: string;
  readonly #bounds: XmlBounds;
  readonly #forbidden: RegExp;
  #at = 0;
  #nodes = 0;

  constructor(text: string, bounds: XmlBounds) {
    this.#text = text;
    this.#bounds = bounds;
    this.#forbidden = forbiddenIn(bounds);
  }

  document(): XmlElement {
    this.#declaration();
    this.#misc();
    const root = this.#element();
    this.#misc();
    if (this.#at < this.#text.length) throw this.#fault("something comes after the document");
    return root;
  }

  #fault(what: string): XmlFault {
    return new XmlFault(`${what} (at character ${this.#at})`);
  }

  #takes(literal: string): boolean {
    if (!this.#text.startsWith(literal, this.#at)) return false;
    this.#at += literal.length;
    return true;
  }

  #space(): boolean {
    SPACE.lastIndex = this.#at;
    const [found] = SPACE.exec(this.#text)!;
    this.#at += found.length;
    return found !== "";
  }

  /** What is before `end`, which is passed over. */
  #until(end: string, what: string): string {
    const found = this.#text.indexOf(end, this.#at);
    if (found < 0) throw this.#fault(`${what} does not end`);
    const text = this.#text.slice(this.#at, found);
    this.#at = found + end.length;
    return text;
  }

  #declaration(): void {
    if (/^<\?xml[ \t\n]/.test(this.#text)) this.#until("?>", "the declaration");
  }

  /** Space, comments and instructions around the document. */
  #misc(): void {
    for (;;) {
      this.#space();
      if (!this.#comment() && !this.#instruction()) return;
    }
  }

  #comment(): boolean {
    if (!this.#takes("<!--")) return false;
    const text = this.#until("-->", "a comment");
    if (text.includes("--") || text.endsWith("-")) throw this.#fault("a comment holds --");
    return true;
  }

  #instruction(): boolean {
    if (!this.#takes("<?")) return false;
    if (/^xml[ \t\n?]/i.test(this.#text.slice(this.#at, this.#at + 4))) throw this.#fault("a declaration in the middle");
    this.#until("?>", "an instruction");
    return true;
  }

  /** The whole tree, without recursion: depth is bounded by a number, not by the stack. */
  #element(): XmlElement {
    const open: Open[] = [];
    for (;;) {
      const { element, isEmpty } = this.#startTag(open);
      if (!isEmpty) {
        const { depthMax } = this.#bounds;
        if (open.length === depthMax) throw this.#fault(`more than ${depthMax} elements within each other`);
        open.push(element);
      }
      let done: XmlElement | undefined = isEmpty ? element.element : undefined;
      for (;;) {
        if (done !== undefined) {
          const parent = open.at(-1);
          if (parent === undefined) return done;
          parent.children.push(done);
          done = undefined;
        }
        this.#content(open.at(-1)!);
        if (!this.#takes("</")) break;
        done = this.#endTag(open.pop()!);
      }
    }
  }

  /** Up to the next tag. */
  #content({ children }: Open): void {
    let text = "";
    for (;;) {
      const next = this.#text.indexOf("<", this.#at);
      if (next < 0) throw this.#fault("an element does not end");
      const raw = this.#text.slice(this.#at, next);
      if (raw.includes("]]>")) throw this.#fault("]]> in a text");
      text += this.#unescaped(raw);
      this.#at = next;
      if (this.#takes("<![CDATA[")) text += this.#until("]]>", "a CDATA section");
      else if (this.#text.startsWith("<!", next) && !this.#comment()) throw this.#fault("document types are refused");
      else if (this.#text.startsWith("<?", next)) this.#instruction();
      else if (this.#at === next) break;
    }
    if (text !== "") children.push(text);
  }

  #startTag(open: readonly Open[]): { element: Open; isEmpty: boolean } {
    if (this.#text.startsWith("<!", this.#at)) throw this.#fault("document types are refused");
    if (!this.#takes("<")) throw this.#fault("an element is missing");
    this.#count();
    const [qualified, prefix, name] = this.#name();
    const given = this.#attributes();
    const isEmpty = this.#takes("/>");
    if (!isEmpty && !this.#takes(">")) throw this.#fault(`the tag ${qualified} is not well formed`);
    const scope = this.#scopeOf(open.at(-1)?.scope ?? NO_SCOPE, given);
    const attributes = given.filter((one) => !isDeclaration(one)).map((one) => this.#resolved(one, scope));
    const seen = new Set(attributes.map((one) => `${one.ns}}${one.name}`));
    if (seen.size !== attributes.length) throw this.#fault("an attribute is given twice");
    const children: (XmlElement | string)[] = [];
    const element = { prefix, ns: this.#namespace(prefix, scope), name, attributes, children };
    return { element: { element, children, qualified, scope }, isEmpty };
  }

  #endTag({ element, qualified }: Open): XmlElement {
    const [found] = this.#name();
    this.#space();
    if (found !== qualified || !this.#takes(">")) throw this.#fault(`${qualified} is not ended by its own tag`);
    return element;
  }

  #count(): void {
    const { nodesMax } = this.#bounds;
    if (++this.#nodes > nodesMax) throw this.#fault(`more than ${nodesMax} elements and attributes`);
  }

  #name(): [qualified: string, prefix: string, name: string] {
    QUALIFIED.lastIndex = this.#at;
    const match = QUALIFIED.exec(this.#text);
    if (match === null) throw this.#fault("a name is missing");
    this.#at += match[0].length;
    return [match[0], match[1] ?? "", match[2]!];
  }

  #attributes(): Omit<XmlAttribute, "ns">[] {
    const attributes: Omit<XmlAttribute, "ns">[] = [];
    const names = new Set<string>();
    while (this.#space() && !/^\/?>/.test(this.#text.slice(this.#at, this.#at + 2))) {
      this.#count();
      const [qualified, prefix, name] = this.#name();
      this.#space();
      if (!this.#takes("=")) throw this.#fault(`the attribute ${qualified} has no value`);
      this.#space();
      const quote = this.#takes('"') ? '"' : this.#takes("'") ? "'" : undefined;
      if (quote === undefined) throw this.#fault(`the value of ${qualified} is not quoted`);
      const raw = this.#until(quote, "a value");
      if (raw.includes("<")) throw this.#fault(`< in the value of ${qualified}`);
      if (names.has(qualified)) throw this.#fault(`${qualified} is given twice`);
      names.add(qualified);
      attributes.push({ prefix, name, value: this.#unescaped(raw.replaceAll(/[\t\n]/g, " ")) });
    }
    return attributes;
  }

  #scopeOf(outer: Scope, attributes: readonly Omit<XmlAttribute, "ns">[]): Scope {
    const declared = attributes.filter(isDeclaration);
    if (declared.length === 0) return outer;
    const scope = new Scope(outer);
    for (const { prefix, name, value } of declared) {
      const of = prefix === "" ? "" : name;
      const isReserved = of === "xmlns" || (of === "xml") !== (value === XML_NS) || value === XMLNS_NS;
      if (isReserved || (of !== "" && value === "")) throw this.#fault(`the namespace of "${of}" cannot be declared so`);
      scope.set(of, value);
    }
    return scope;
  }

  #namespace(prefix: string, scope: Scope): string {
    const ns = scope.get(prefix);
    if (ns === undefined) throw this.#fault(`the prefix "${prefix}" has no namespace`);
    return ns;
  }

  #resolved({ prefix, name, value }: Omit<XmlAttribute, "ns">, scope: Scope): XmlAttribute {
    return { prefix, ns: prefix === "" ? "" : this.#namespace(prefix, scope), name, value };
  }

  #unescaped(raw: string): string {
    if (!raw.includes("&")) return raw;
    return raw.replaceAll(/&(?:#([0-9]{1,7})|#x([0-9a-fA-F]{1,6})|(\w{1,8}));|&/g, (_, decimal?: string, hex?: string, name?: string) => {
      const known = name === undefined ? undefined : ENTITIES[name];
      if (known !== undefined) return known;
      const code = decimal !== undefined ? Number(decimal) : hex !== undefined ? Number.parseInt(hex, 16) : -1;
      if (code < 0 || code > 0x10ffff) throw this.#fault("an entity that is not known");
      const char = String.fromCodePoint(code);
      if (this.#forbidden.test(char)) throw this.#fault("a character that XML has not");
      return char;
    });
  }
}

function isDeclaration({ prefix, name }: Omit<XmlAttribute, "ns">): boolean {
  return prefix === "xmlns" || (prefix === "" && name === "xmlns");
}

// ---------------------------------------------------------------- what is asked of elements

export const childElements = ({ children }: XmlElement): XmlElement[] => children.filter((child) => typeof child !== "string");

export const textOf = ({ children }: XmlElement): string =>
  children.map((child) => (typeof child === "string" ? child : textOf(child))).join("");

// ---------------------------------------------------------------- writing

const ESCAPES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;" };

/** As text or as the value of an attribute; what XML has no character for is replaced. */
export function escapeXml(text: string): string {
  const wellFormed = text.toWellFormed();
  const possible = FORBIDDEN.test(wellFormed) ? wellFormed.replaceAll(new RegExp(FORBIDDEN, "gu"), "\u{FFFD}") : wellFormed;
  return possible.replaceAll(/[&<>"\r]/g, (char) => ESCAPES[char]!);
}

const escapeAttribute = (value: string): string => escapeXml(value).replaceAll(/[\t\n]/g, (char) => `&#${char.charCodeAt(0)};`);

/** An element with every namespace that it and what is in it need declared, so that it can stand anywhere. */
export function writeXml(element: XmlElement, scope: Scope = NO_SCOPE): string {
  const inner = new Scope(scope);
  let declarations = "";
  const declare = (prefix: string, ns: string): void => {
    if (inner.get(prefix) === ns) return;
    inner.set(prefix, ns);
    declarations += ` xmlns${prefix === "" ? "" : `:${prefix}`}="${escapeAttribute(ns)}"`;
  };
  declare(element.prefix, element.ns);
  let attributes = "";
  for (const { prefix, ns, name, value } of element.attributes) {
    if (prefix !== "") declare(prefix, ns);
    attributes += ` ${prefix === "" ? "" : `${prefix}:`}${name}="${escapeAttribute(value)}"`;
  }
  const tag = element.prefix === "" ? element.name : `${element.prefix}:${element.name}`;
  const start = `<${tag}${declarations}${attributes}`;
  if (element.children.length === 0) return `${start}/>`;
  const content = element.children.map((child) => (typeof child === "string" ? escapeXml(child) : writeXml(child, inner)));
  return `${start}>${content.join("")}</${tag}>`;
}
