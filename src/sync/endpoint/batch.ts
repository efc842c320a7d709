/** Items put together as far as one message takes them. Pure. */
import { BATCH_BYTES_MAX, BATCH_ITEMS_MAX } from "#sync/endpoint/endpoint.ts";

export class Batch<Item> {
  #items: Item[] = [];
  #bytes = 0;

  /**
   * @param bytes of content in it; one item may have more than a batch takes, and is then alone in its own
   * @returns what came before, when it and this item are too much for one message
   */
  add(item: Item, bytes: number): Item[] | undefined {
    const isFull = this.#items.length >= BATCH_ITEMS_MAX || this.#bytes + bytes > BATCH_BYTES_MAX;
    const full = isFull ? this.take() : undefined;
    this.#items.push(item);
    this.#bytes += bytes;
    return full;
  }

  /** What is left; undefined when there is nothing. */
  take(): Item[] | undefined {
    if (this.#items.length === 0) return undefined;
    const items = this.#items;
    this.#items = [];
    this.#bytes = 0;
    return items;
  }
}
