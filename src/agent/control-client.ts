/** The agent's end of the control channel: says hello, sends heartbeats, takes what the hub assigns and approves. */
import { SynclineError, asError, messageOf } from "#model/error.ts";
import type { Clock, Random } from "#platform/host.ts";
import type { Mux } from "#sync/wire/mux.ts";
import type { MuxChannel } from "#sync/wire/mux-channel.ts";
import {
  CONTROL_BYTES_MAX,
  CONTROL_METHOD,
  CONTROL_VERSION,
  type FromAgent,
  type FromHub,
  HEARTBEAT_MS,
  type HeldPlan,
  type LinkState,
  decodeFromHub,
  encodeControl,
} from "#hub/agents/control.ts";
import { DEPENDENCIES_PER_PART, type Dependency } from "#hub/agents/dependencies.ts";
import type { LeftConflicts } from "#hub/agents/left-conflicts.ts";
import type { DeclaredLink } from "#hub/agents/link.ts";
import type { AgentLog } from "#agent/link-context.ts";

/** Reconnecting: doubles from the first to the longest delay, each drawn between half and all of it. */
const RETRY_FIRST_MS = 250;
const RETRY_LONGEST_MS = 10_000;
/** News is collected for so long before it is told. */
const NEWS_MS = 250;

/** Why a decision was not taken, as it is told. */
const DECISION_CODES = ["NOT_FOUND", "STALE", "UNSUPPORTED", "LIMIT"] as const;

export type ControlOptions = {
  readonly program: string;
  readonly platform: string;
  /** Asked for each greeting. */
  readonly links: () => readonly DeclaredLink[];
  /** Makes a connection that is attached to the control root. */
  readonly connect: (signal: AbortSignal) => Promise<Mux>;
  readonly states: () => LinkState[];
  /** Plans that are held now; told anew to each connection. */
  readonly holds: () => HeldPlan[];
  /** A message of the hub other than what is answered here. What it throws ends the connection. */
  readonly onMessage: (message: FromHub) => void;
  /** What has to be asked of the hub, looked for with each heartbeat. */
  readonly request: () => FromAgent | undefined;
  readonly onConnected: () => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: AgentLog;
};

export class ControlClient {
  readonly #options: ControlOptions;
  #channel: MuxChannel | undefined;
  #mux: Mux | undefined;
  #news: (() => void) | undefined;
  /** The connection was ended to begin another one. */
  #isAgain = false;

  constructor(options: ControlOptions) {
    this.#options = options;
  }

  get isConnected(): boolean {
    return this.#channel !== undefined;
  }

  /** Something has changed: the next heartbeat is due soon. */
  news(): void {
    this.#news?.();
  }

  /** Greets the hub once more, by a new connection. */
  again(): void {
    this.#isAgain = true;
    this.#channel?.fail(ended("the agent greets the hub anew"));
  }

  /** The state goes first, so that nobody sees the plan beside a link that looks well. */
  hold(plan: HeldPlan): void {
    this.heartbeat();
    this.#send({ type: "hold", plan });
  }

  /** The answer to a job of the hub. */
  rescanned(link: string, job: number, trouble: string | null): void {
    this.heartbeat();
    this.#send({ type: "rescanned", link, job, trouble: trouble?.slice(0, 2000) ?? null });
  }

  /** Undefined: there is no such link, which has none. */
  conflicts(ask: number, { conflicts, total }: LeftConflicts = { conflicts: [], total: 0 }): void {
    this.#send({ type: "conflicts", ask, conflicts: [...conflicts], total });
  }

  /** Undefined: it was taken. */
  resolved(ask: number, trouble: SynclineError | undefined): void {
    const code = DECISION_CODES.find((one) => one === trouble?.code) ?? ("INTERNAL" as const);
    const told = trouble === undefined ? null : { code, message: trouble.message.slice(0, 2000) };
    this.#send({ type: "resolved", ask, trouble: told });
  }

  /** A channel of its own for what the hub asked for; undefined: there is no connection any more. */
  open(method: string): MuxChannel | undefined {
    return this.#mux?.open(method);
  }

  /** Says how the links are, now. */
  heartbeat(): void {
    const sentMs = this.#options.clock.nowMs();
    const links = this.#options.states();
    const isLong = Buffer.byteLength(JSON.stringify(links)) > CONTROL_BYTES_MAX - 1000;
    // How the links are comes before what there is beside it.
    this.#send({ type: "heartbeat", sentMs, links: isLong ? links.map((one) => ({ ...one, releases: null, projects: [] })) : links });
  }

  /** The answer to what the hub has asked for, in parts that fit a message. */
  async dependencies(ask: number, list: () => readonly Dependency[]): Promise<void> {
    const channel = this.#channel;
    const send = async (items: Dependency[], isLast: boolean, fault: string | null): Promise<void> =>
      channel?.send(encodeControl({ type: "dependencies", ask, items, isLast, fault }));
    let part: Dependency[] = [];
    let bytes = 0;
    try {
      for (const one of list()) {
        const size = Buffer.byteLength(JSON.stringify(one)) + 1;
        if (part.length >= DEPENDENCIES_PER_PART || bytes + size > CONTROL_BYTES_MAX / 2) {
          await send(part, false, null);
          part = [];
          bytes = 0;
        }
        part.push(one);
        bytes += size;
      }
      await send(part, true, null);
    } catch (error) {
      if (channel?.failure !== undefined) return;
      await send([], true, messageOf(error).slice(0, 500));
    }
  }

  /** Runs until the signal, whatever happens to the connection. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, random, log } = this.#options;
    let failures = 0;
    let told = "";
    while (!signal.aborted) {
      try {
        await this.#serve(signal, () => {
          failures = 0;
          // The next time that it is away is another night.
          told = "";
        });
      } catch (error) {
        if (signal.aborted) return;
        if (this.#isAgain) continue;
        const reason = messageOf(error);
        const hint = error instanceof SynclineError ? (error.hint ?? "") : "";
        // A hub that is away for a night is one line, not thousands.
        if (reason !== told) log("hub cannot be reached", { reason, hint });
        told = reason;
      }
      const longest = Math.min(RETRY_LONGEST_MS, RETRY_FIRST_MS * 2 ** Math.min(failures++, 16));
      const [draw] = random.bytes(1);
      await clock.sleep(longest / 2 + (longest / 2) * (draw! / 255), signal).catch(() => undefined);
    }
  }

  async #serve(signal: AbortSignal, onGreeted: () => void): Promise<void> {
    const { connect, program, platform, links, onConnected, log } = this.#options;
    this.#isAgain = false;
    const mux = await connect(signal);
    const abort = (): void => mux.close();
    signal.addEventListener("abort", abort, { once: true });
    try {
      signal.throwIfAborted();
      const channel = mux.open(CONTROL_METHOD);
      this.#channel = channel;
      this.#mux = mux;
      this.#send({ type: "hello", version: CONTROL_VERSION, program, platform, links: [...links()] });
      // Who says nothing any more is taken for gone: then a new connection is made.
      const beats = this.#beat(channel).catch((error: unknown) => channel.fail(asError(error)));
      try {
        let greeted = false;
        for (;;) {
          const bytes = await channel.receive();
          if (bytes === undefined) throw ended("the hub has ended the connection");
          this.#options.onMessage(decodeFromHub(bytes));
          if (greeted) continue;
          greeted = true;
          onGreeted();
          log("connected to the hub", { hub: mux.label });
          for (const plan of this.#options.holds()) this.hold(plan);
          onConnected();
        }
      } finally {
        this.#channel = undefined;
        this.#mux = undefined;
        channel.fail(ended("the agent has gone"));
        await beats;
      }
    } finally {
      signal.removeEventListener("abort", abort);
      mux.close();
    }
  }

  /** A heartbeat now, then every HEARTBEAT_MS, and soon after news. Ends with the channel. */
  async #beat(channel: MuxChannel): Promise<void> {
    const { clock, request } = this.#options;
    while (channel.failure === undefined) {
      this.heartbeat();
      const asked = request();
      if (asked !== undefined) this.#send(asked);
      const wake = new AbortController();
      this.#news = () => wake.abort();
      await clock.sleep(HEARTBEAT_MS, AbortSignal.any([channel.signal, wake.signal])).catch(() => undefined);
      if (wake.signal.aborted) await clock.sleep(NEWS_MS, channel.signal).catch(() => undefined);
    }
  }

  #send(message: FromAgent): void {
    const channel = this.#channel;
    if (channel === undefined || channel.failure !== undefined) return;
    // What cannot be sent any more is said anew to the next connection.
    void Promise.resolve(channel.send(encodeControl(message))).catch(() => undefined);
  }
}

function ended(message: string): SynclineError {
  return new SynclineError({ code: "LINK_LOST", op: "control", message, retryable: true });
}
