/** Ops of one file on their way out: neighbours are merged and small ones packed together. */
import type { ByteWriter } from "#sync/wire/bytes.ts";
import { PIECE_BYTES } from "#sync/chunk/sum.ts";
import { COPY_BYTES_MAX, OPS_BYTES, SMALL_LITERAL_BYTES } from "#sync/transfer/limits.ts";
import type { Line } from "#sync/transfer/line.ts";
import {
  DATA_HEADER_BYTES,
  OPS,
  OP_COPY,
  OP_KEEP,
  OP_LITERAL,
  OP_ZERO,
  startMessage,
} from "#sync/transfer/messages.ts";

/** Calls must be awaited one after the other; nothing is sent before flush() but what grew too large. */
export class FileOutput {
  readonly #line: Line;
  readonly #id: number;
  #ops: ByteWriter | undefined;
  /** The run that the next op may extend: a copy, a keep or zeros. */
  #kind: number = OP_COPY;
  #target = 0;
  #base = 0;
  #length = 0;
  literalBytes = 0;

  constructor(line: Line, id: number) {
    this.#line = line;
    this.#id = id;
  }

  copy(target: number, base: number, length: number): Promise<void> | void {
    return this.#run(OP_COPY, target, base, length);
  }

  keep(target: number, length: number): Promise<void> | void {
    return this.#run(OP_KEEP, target, 0, length);
  }

  zero(target: number, length: number): Promise<void> | void {
    return this.#run(OP_ZERO, target, 0, length);
  }

  /** Sends bytes of the file; they are copied or sent before the promise resolves. */
  async literal(target: number, bytes: Uint8Array): Promise<void> {
    this.literalBytes += bytes.length;
    let at = 0;
    while (at < bytes.length) {
      // A literal never crosses a piece, so that the destination can hash whole pieces straight from the
      // message.
      const rest = Math.min(bytes.length - at, PIECE_BYTES - ((target + at) % PIECE_BYTES));
      const slice = bytes.subarray(at, at + rest);
      if (rest <= SMALL_LITERAL_BYTES) await this.#smallLiteral(target + at, slice);
      else await this.#largeLiteral(target + at, slice);
      at += rest;
    }
  }

  /** Sends everything collected. */
  flush(): Promise<void> | void {
    this.#closeRun();
    const ops = this.#ops;
    this.#ops = undefined;
    if (ops !== undefined) return this.#line.send(ops.finish());
  }

  async #smallLiteral(target: number, bytes: Uint8Array): Promise<void> {
    this.#closeRun();
    const ops = this.#writer();
    ops.u8(OP_LITERAL);
    ops.varint(target);
    ops.bytes(bytes);
    if (ops.length >= OPS_BYTES) await this.flush();
  }

  async #largeLiteral(target: number, bytes: Uint8Array): Promise<void> {
    const buffer = await this.#line.acquire();
    buffer.set(bytes, DATA_HEADER_BYTES);
    await this.#line.sendData(buffer, this.#id, target, bytes.length);
  }

  #run(kind: number, target: number, base: number, length: number): Promise<void> | void {
    const follows =
      this.#length > 0 && kind === this.#kind && target === this.#target + this.#length &&
      (kind !== OP_COPY || base === this.#base + this.#length);
    if (follows) {
      this.#length += length;
    } else {
      this.#closeRun();
      this.#kind = kind;
      this.#target = target;
      this.#base = base;
      this.#length = length;
    }
    if (this.#length >= COPY_BYTES_MAX || (this.#ops?.length ?? 0) >= OPS_BYTES) return this.flush();
  }

  #closeRun(): void {
    if (this.#length === 0) return;
    const ops = this.#writer();
    ops.u8(this.#kind);
    ops.varint(this.#target);
    if (this.#kind === OP_COPY) ops.varint(this.#base);
    ops.varint(this.#length);
    this.#length = 0;
  }

  #writer(): ByteWriter {
    return (this.#ops ??= startMessage(OPS, this.#id));
  }
}
