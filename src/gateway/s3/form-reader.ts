/** A form with a file in it (multipart/form-data), as browsers send it: fields first, the file last, as a stream. */
import { S3Error } from "#gateway/s3/s3-error.ts";
import type { Piece, RequestBody } from "#platform/net/http1/request-body.ts";

/** Bytes of the head of a part, and of all fields together. */
const HEAD_BYTES_MAX = 8 << 10;
const FIELDS_BYTES_MAX = 64 << 10;
const FIELDS_MAX = 100;

const DASHES = Buffer.from("--");
const END_OF_HEAD = Buffer.from("\r\n\r\n");

const malformed = (message: string): S3Error => new S3Error("MalformedPOSTRequest", message);

/** The boundary that the content type names. @throws {S3Error} MalformedPOSTRequest */
export function boundaryOf(contentType: string): string {
  const match = /^multipart\/form-data\s*;.*\bboundary=(?:"([^"]{1,70})"|([^;\s"]{1,70}))/i.exec(contentType);
  const boundary = match?.[1] ?? match?.[2];
  if (boundary === undefined) throw malformed("the form names no boundary");
  return boundary;
}

export class FormReader implements RequestBody {
  /** Nobody knows how long the file is. */
  readonly length = undefined;
  readonly #body: RequestBody;
  readonly #mark: Buffer;
  #rest: Buffer = Buffer.alloc(0);
  #isEnded = false;
  #fileName = "";

  constructor(body: RequestBody, boundary: string) {
    this.#body = body;
    this.#mark = Buffer.from(`\r\n--${boundary}`, "latin1");
  }

  /** What the file is called there. */
  get fileName(): string {
    return this.#fileName;
  }

  /** All fields before the file, by lower-case name; then read() gives the file. @throws {S3Error} MalformedPOSTRequest */
  async fields(): Promise<Map<string, string>> {
    const fields = new Map<string, string>();
    let total = 0;
    const first = await this.#until(this.#mark.subarray(2), 0);
    if (first.length > 0) throw malformed("something comes before the form");
    for (;;) {
      const { name, fileName } = await this.#head();
      if (name === "file") {
        this.#fileName = fileName;
        return fields;
      }
      const value = await this.#until(this.#mark, FIELDS_BYTES_MAX - total);
      total += value.length;
      if (fields.has(name)) throw malformed(`the field ${name.slice(0, 60)} is given twice`);
      if (fields.size === FIELDS_MAX) throw malformed(`a form has up to ${FIELDS_MAX} fields`);
      fields.set(name, value.toString("latin1"));
    }
  }

  async #head(): Promise<{ name: string; fileName: string }> {
    const after = await this.#take(2);
    if (after.equals(DASHES)) throw malformed("the form has no file");
    if (after.toString("latin1") !== "\r\n") throw malformed("a boundary is not well formed");
    const head = (await this.#until(END_OF_HEAD, HEAD_BYTES_MAX)).toString();
    const line = head.split("\r\n").find((one) => /^content-disposition\s*:\s*form-data\b/i.test(one));
    const name = /;\s*name="([^"\r\n]*)"/i.exec(line ?? "")?.[1];
    if (name === undefined) throw malformed("a part of the form has no name");
    return { name: name.toLowerCase(), fileName: /;\s*filename="([^"\r\n]*)"/i.exec(line!)?.[1] ?? "" };
  }

  /** The next bytes of the file; undefined: its end. */
  async read(): Promise<Piece> {
    if (this.#isEnded) return undefined;
    for (;;) {
      const at = this.#rest.indexOf(this.#mark);
      // What may be the beginning of the boundary is kept back.
      const end = at >= 0 ? at : this.#rest.length - this.#mark.length + 1;
      if (at >= 0) this.#isEnded = true;
      if (end > 0) {
        const piece = this.#rest.subarray(0, end);
        this.#rest = this.#rest.subarray(end);
        return piece;
      }
      if (at >= 0) return this.#drained();
      await this.#more();
    }
  }

  /** What comes behind the file is nobody's, and is bounded by the server. */
  async #drained(): Promise<undefined> {
    while ((await this.#body.read()) !== undefined);
    return undefined;
  }

  /** Bytes before a mark; both are taken. */
  async #until(mark: Buffer, max: number): Promise<Buffer> {
    for (;;) {
      const at = this.#rest.indexOf(mark);
      if (at > max || (at < 0 && this.#rest.length > max + mark.length)) throw malformed("a part of the form is too long");
      if (at >= 0) {
        const found = this.#rest.subarray(0, at);
        this.#rest = this.#rest.subarray(at + mark.length);
        return found;
      }
      await this.#more();
    }
  }

  async #take(count: number): Promise<Buffer> {
    while (this.#rest.length < count) await this.#more();
    const found = this.#rest.subarray(0, count);
    this.#rest = this.#rest.subarray(count);
    return found;
  }

  async #more(): Promise<void> {
    const piece = await this.#body.read();
    if (piece === undefined) throw malformed("the form has no end");
    const bytes = Buffer.from(piece.buffer, piece.byteOffset, piece.length);
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
  }
}
