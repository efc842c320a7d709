/** The bytes of one numbered part on their way into an upload. */
import type { Stretch, StoreIntake, StoreSink } from "#hub/content.ts";
import { NO_SUMS, type Sums } from "#hub/sums/sums.ts";
import type { Part, PartSink } from "#hub/uploads/upload.ts";
import { overSize } from "#hub/uploads/upload-errors.ts";
import type { PartRow } from "#hub/uploads/upload-rows.ts";
import { assert } from "#model/error.ts";

export type NumberedPartParts = {
  readonly intake: StoreIntake;
  readonly sink: StoreSink;
  readonly number: number;
  readonly sizeMax: number;
  readonly save: (part: PartRow) => Promise<void>;
  readonly nowMs: () => number;
  /** Lets go of everything. */
  readonly onEnd: () => Promise<void>;
};

export class NumberedPart implements PartSink {
  readonly #parts: NumberedPartParts;
  #size = 0;
  #stretch: Stretch | undefined;

  constructor(parts: NumberedPartParts) {
    this.#parts = parts;
  }

  write(bytes: Uint8Array): Promise<void> | void {
    this.#size += bytes.length;
    if (this.#size > this.#parts.sizeMax) throw overSize(this.#parts.sizeMax);
    return this.#parts.sink.write(bytes);
  }

  async end(): Promise<{ size: number; sums: Sums }> {
    const { size, sums } = (this.#stretch = await this.#parts.sink.stretch());
    return { size, sums };
  }

  async commit(more: Sums = NO_SUMS): Promise<Part> {
    const { intake, number, save, nowMs } = this.#parts;
    assert(this.#stretch !== undefined, "a part is committed after its end");
    const { size, chunks, leaves } = this.#stretch;
    const sums = { ...this.#stretch.sums, ...more };
    await intake.flush();
    const timeMs = nowMs();
    await save({ number, size, sums, timeMs, chunks, leaves });
    return { number, size, sums, timeMs };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#parts.onEnd();
  }
}
