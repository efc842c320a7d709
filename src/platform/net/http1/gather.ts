/**
 * Short answers of one turn of the event loop go out together, one write directly behind the other, when all of its
 * requests were looked at: a client on the same machine is woken once for many of them, and not once for each.
 */

export class Gather {
  #waiting: (() => void)[] = [];

  /** Resolves with what `write` gives, in this turn of the event loop; rejects with what it throws. */
  add(write: () => Promise<void> | void): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.length === 0) setImmediate(() => this.#flush());
      this.#waiting.push(() => {
        try {
          resolve(write());
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  #flush(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const one of waiting) one();
  }
}
