/** Work that goes on while nobody waits for it, until the end of its owner, who meets what has failed. */
export class LeftWork {
  #all: Promise<void> = Promise.resolve();

  add(work: PromiseLike<void> | undefined): void {
    this.#all = Promise.all([this.#all, work]).then(() => undefined);
    // Met by settled().
    this.#all.catch(() => undefined);
  }

  /** Resolves when all that was added has. @throws what the first of it failed with */
  settled(): Promise<void> {
    return this.#all;
  }
}
