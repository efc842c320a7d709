/** What the parts of one link share: what they may use, and what follows from the link as it is assigned now. */
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import type { Host } from "#platform/host.ts";
import type { Endpoint, SumSeeds } from "#sync/endpoint/endpoint.ts";
import type { Turns } from "#sync/endpoint/turns.ts";
import type { Store } from "#sync/index/store.ts";
import type { SessionOptions } from "#sync/session/events.ts";
import type { HeldPlan } from "#hub/agents/control.ts";
import type { AssignedLink } from "#hub/agents/link.ts";
import { installedLines } from "#agent/deps/projects.ts";
import type { HookContext, Hooks } from "#agent/hooks.ts";
import type { SpanSink } from "#agent/link-traces.ts";
import { PauseFile } from "#agent/pause.ts";
import { Publisher } from "#agent/publisher.ts";
import { Releases, releasesDir } from "#agent/releases.ts";
import { rateAt } from "#agent/schedule.ts";

export const RESCAN_MS = 5 * 60_000;

export type AgentLog = (message: string, fields: Readonly<Record<string, string | number>>) => void;

export type Configured = {
  /** After the lines of space and link. */
  readonly ignore: readonly string[];
  readonly hooks: Hooks;
  readonly mayInstall: boolean;
};

export type LinkContext = {
  readonly host: Host;
  /** The local root. */
  readonly openRoot: (path: string) => Endpoint;
  /** The space behind a link, at the hub. */
  readonly openSpace: (linkId: string) => Endpoint;
  /** Opens a database of ours below the data directory; a damaged one is begun anew. */
  readonly openState: (name: string) => Store;
  /** Absolute path of a small file of ours in the data directory. */
  readonly stateFile: (name: string) => string;
  /** Text to hex digits (SHA-256). */
  readonly hash: (text: string, digits: number) => string;
  /** Keeps this agent's sessions apart from those of any other. */
  readonly installation: string;
  /** What the host's own configuration says now. */
  readonly configured: () => Configured;
  /** Of all links of the host. */
  readonly turns: Turns;
  /** Of all links; undefined: nobody wants spans. */
  readonly spans: SpanSink | undefined;
  readonly onChange: () => void;
  readonly onHold: (plan: HeldPlan) => void;
  readonly log: AgentLog;
};

/** Where a link is at work on its host. */
export function rootsOf({ root, settings }: Pick<AssignedLink, "root" | "settings">): string[] {
  return settings.apply === "release" ? [root, releasesDir(root)] : [root];
}

/** A link as it is assigned now, with what it may use. */
export class LinkParts {
  readonly context: LinkContext;
  link: AssignedLink;

  constructor(link: AssignedLink, context: LinkContext) {
    this.link = link;
    this.context = context;
  }

  /** Another root, space or direction is another pair, which begins with nothing remembered. */
  get sessionId(): string {
    const { id, root, seeds, prefix, settings } = this.link;
    // Seeds are a space's own for life; its name may change.
    const words = [this.context.installation, id, root, seeds, prefix, settings.from];
    // Its files are others, too: those of the link's own copy.
    if (settings.apply === "release") words.push("release");
    return this.context.hash(JSON.stringify(words), 32);
  }

  /** Only while the link has a space. */
  get seeds(): SumSeeds {
    const bytes = Buffer.from(this.link.seeds!, "hex");
    return { a: bytes.readBigUInt64BE(0), b: bytes.readBigUInt64BE(8) };
  }

  /** Undefined for a link whose root is changed in place. */
  get releases(): Releases | undefined {
    const { root, settings } = this.link;
    return settings.apply === "release" ? new Releases(this.context.host.fs, root) : undefined;
  }

  get pauses(): PauseFile {
    return this.releases?.pauses ?? new PauseFile(this.context.stateFile(`pauses/${this.link.id}.json`));
  }

  get hooks(): HookContext {
    const { host, configured, log } = this.context;
    const { id, root, space } = this.link;
    return { hooks: configured().hooks, link: id, root, space, random: host.random, log };
  }

  publisher(releases: Releases, store: Store): Publisher {
    const keep = this.link.settings.keepReleases;
    return new Publisher({ releases, store, seeds: this.seeds, keep, hooks: this.hooks, clock: this.context.host.clock });
  }

  /** Without what a person has decided. */
  get options(): Omit<SessionOptions, "approve"> {
    const { settings, spaceIgnore } = this.link;
    const { host, configured } = this.context;
    const rateNow = (): number | undefined => rateAt(settings, new Date(host.clock.nowMs()));
    return {
      mode: settings.mode,
      conflict: settings.conflict,
      delete: settings.mode.startsWith("one-way"),
      brake: undefined,
      dryRun: false,
      watch: true,
      settle: settings.settle,
      rescanMs: RESCAN_MS,
      deep: false,
      scrub: settings.scrubEveryMs === null ? undefined : { everyMs: settings.scrubEveryMs },
      ignore: [...spaceIgnore, ...settings.ignore, ...configured().ignore, ...installedLines(settings.install)],
      include: [],
      preserve: PRESERVE_DEFAULT,
      durable: "batch",
      verifyReadBack: false,
      compress: "auto",
      bytesPerSecond: settings.rates.length === 0 ? (settings.bytesPerSecond ?? undefined) : rateNow,
      verbose: false,
      createAlpha: settings.from === "host" && !settings.mode.startsWith("one-way"),
    };
  }
}
