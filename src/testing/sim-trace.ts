/** The trace of a run: a rolling hash over everything that happened, in order. Same seed, same trace (P16). */
export class SimTrace {
  #a = 0x811c9dc5;
  #b = 0x9e3779b9;
  /** Things that happened so far. */
  count = 0;

  note(what: string): void {
    this.count++;
    let a = this.#a;
    for (let at = 0; at < what.length; at++) a = Math.imul(a ^ what.charCodeAt(at), 0x01000193);
    this.#a = Math.imul(a ^ 0x1f, 0x01000193);
    this.#b = Math.imul(this.#b ^ this.#a ^ (this.#b >>> 15), 0x2c1b3c6d);
  }

  digest(): string {
    return `${this.count}-${(this.#a >>> 0).toString(16)}-${(this.#b >>> 0).toString(16)}`;
  }
}
