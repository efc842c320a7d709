/** Counts the connections of a listener, so that who opens many of them, or says nothing, keeps nobody else out. */

export type GateLimits = {
  /** Connections at once, admitted or not. */
  readonly connections: number;
  /** Connections that have not shown yet who they are. */
  readonly pending: number;
  readonly pendingPerAddress: number;
  readonly perAddress: number;
};

export class ConnectionGate {
  readonly #limits: GateLimits;
  readonly #perAddress = new Map<string, { all: number; pending: number }>();
  #connections = 0;
  #pending = 0;

  constructor(limits: GateLimits) {
    this.#limits = limits;
  }

  get connections(): number {
    return this.#connections;
  }

  /** False when there are too many; otherwise each of decided() and left() is due once, in this order. */
  arrived(address: string): boolean {
    const here = this.#perAddress.get(address) ?? { all: 0, pending: 0 };
    const limits = this.#limits;
    const crowd = here.all >= limits.perAddress || here.pending >= limits.pendingPerAddress;
    if (crowd || this.#connections >= limits.connections || this.#pending >= limits.pending) return false;
    this.#perAddress.set(address, here);
    here.all++;
    here.pending++;
    this.#connections++;
    this.#pending++;
    return true;
  }

  /** It has shown who it is, or has failed to. */
  decided(address: string): void {
    this.#pending--;
    this.#perAddress.get(address)!.pending--;
  }

  left(address: string): void {
    const here = this.#perAddress.get(address)!;
    here.all--;
    if (here.all === 0) this.#perAddress.delete(address);
    this.#connections--;
  }
}
