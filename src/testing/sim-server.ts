/** The far end of a simulated remote side: a process that answers connections, dies, and comes back. */
import { SynclineError, asError } from "#model/error.ts";
import { EndpointServer } from "#sync/endpoint/endpoint-server.ts";
import type { Endpoint } from "#sync/endpoint/endpoint.ts";
import { RemoteEndpoint } from "#sync/endpoint/remote-endpoint.ts";
import type { Transport } from "#platform/net/transport.ts";
import { startClient, startServer } from "#sync/wire/greeting.ts";
import type { Mux } from "#sync/wire/mux.ts";
import type { SimClock } from "#testing/sim-clock.ts";
import type { SimBoot } from "#testing/sim-host.ts";
import type { SimNet } from "#testing/sim-net.ts";
import { ROOT } from "#testing/sim-world.ts";

const PROGRAM = "sim";
const never = new AbortController().signal;

/** What a process at the far end serves. */
export type Far = { readonly name: string; endpoint(boot: SimBoot): Endpoint };

export class SimServer {
  readonly #far: Far;
  readonly #net: SimNet;
  readonly #clock: SimClock;
  #boot: SimBoot | undefined;
  /** Connections of the living process whose endpoint is not closed yet. */
  connections = 0;
  /** What should never be heard between honest sides. */
  readonly breaches: Error[] = [];

  /** @param boot undefined: nobody is there yet, until started() */
  constructor(far: Far, net: SimNet, boot: SimBoot | undefined) {
    this.#far = far;
    this.#net = net;
    this.#clock = net.clock;
    this.#boot = boot;
  }

  /** The living process, if there is one. */
  get boot(): SimBoot | undefined {
    return this.#boot;
  }

  /** The process has ended; connections break when `told`, else hang until their other side gives up. */
  died(told: boolean): void {
    this.#boot = undefined;
    this.connections = 0;
    this.#net.died("server", told);
  }

  started(boot: SimBoot): void {
    this.#boot = boot;
    // The new process knows nothing of the old one's connections, and says so.
    this.#net.died("server", true);
  }

  /** The endpoint as the other host sees it. */
  endpoint(): Endpoint {
    const label = `sim://${this.#far.name}`;
    return new RemoteEndpoint({ label, clock: this.#clock, connect: (signal) => this.#connect(signal) });
  }

  async #connect(signal: AbortSignal): Promise<Mux> {
    await this.#clock.sleep(this.#net.random.real() * (this.#net.faults.delayMs ?? 0), signal);
    const { client, server } = this.#net.connect();
    const boot = this.#boot;
    if (boot === undefined) {
      const message = "connection refused";
      throw new SynclineError({ code: "LINK_LOST", op: "connect", message, retryable: true });
    }
    void this.#serve(boot, server);
    const options = { root: ROOT, token: "", program: PROGRAM, clock: this.#clock };
    return (await startClient(client, options, signal)).mux;
  }

  async #serve(boot: SimBoot, transport: Transport): Promise<void> {
    this.connections++;
    try {
      const admit = async () => ({ readOnly: false, value: this.#endpointServer(boot) });
      const options = { program: PROGRAM, clock: this.#clock, admit };
      const { mux, value } = await startServer(transport, options, (to) => (channel) => to.handle(channel), never);
      await mux.closed;
      await value.close();
    } catch (error) {
      if (!boot.fs.isDead && !(error instanceof SynclineError)) this.breaches.push(asError(error));
    }
    if (!boot.fs.isDead) this.connections--;
  }

  #endpointServer(boot: SimBoot): EndpointServer {
    return new EndpointServer({
      endpoint: this.#far.endpoint(boot),
      readOnly: false,
      mayCreateRoot: true,
      onRefused: (error) => {
        if (!boot.fs.isDead) this.breaches.push(error);
      },
    });
  }
}

