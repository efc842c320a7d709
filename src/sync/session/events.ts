/** What a running session tells its owner (CLI, later the hub). Values only; the order is the order of events. */
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import type { ChangeName, Conflict, Mode, ConflictPolicy, Plan, Side } from "#model/plan.ts";
import type { Preserve } from "#model/entry.ts";
import type { CompressMode } from "#sync/chunk/compress.ts";
import type { Durable } from "#sync/endpoint/endpoint.ts";
import type { ScrubPass } from "#sync/scan/scrub.ts";

export type Phase = "connecting" | "scanning" | "planning" | "transferring" | "applying" | "watching" | "waiting";

export type SessionEvent =
  | { readonly type: "phase"; readonly phase: Phase; readonly detail?: string | undefined }
  | {
      readonly type: "progress";
      /** Entries (scanning) or changes (applying) and content bytes; totals where known. */
      readonly done: number;
      readonly total: number | undefined;
      readonly bytes: number;
      readonly bytesTotal: number | undefined;
      readonly path?: RelPath | undefined;
    }
  | {
      readonly type: "change";
      readonly side: Side;
      readonly path: RelPath;
      readonly action: ChangeName | "move";
      readonly from?: RelPath | undefined;
      readonly bytes: number;
    }
  /**
   * The first changes of a run are about to be made, once: whoever notes the id now finds the run also when this process does
   * not live to tell of its end.
   */
  | { readonly type: "begin"; readonly runId: string }
  | { readonly type: "conflict"; readonly conflict: Conflict }
  | { readonly type: "problem"; readonly problem: Problem }
  | { readonly type: "plan"; readonly plan: Plan; readonly hash: string }
  | { readonly type: "hold"; readonly hash: string; readonly reason: string; readonly plan: Plan }
  | { readonly type: "retry"; readonly attempt: number; readonly delayMs: number; readonly reason: string }
  /** While watching: all files of a side have been read again. `damaged` counts those whose damage is certain. */
  | ({ readonly type: "scrub"; readonly side: Side } & ScrubPass)
  | { readonly type: "degraded"; readonly side: Side; readonly reason: string }
  /** What a side cannot do; told whenever it has been opened. */
  | { readonly type: "note"; readonly side: Side; readonly text: string }
  /**
   * End of each cycle that did something or found something; in watch mode many, otherwise one. Also of one that broke
   * off, when it had changed something: it can be taken back like any other.
   */
  | { readonly type: "cycle"; readonly summary: Summary }
  /** All that was done until the error that is thrown next. */
  | { readonly type: "failed"; readonly summary: Summary };

export type Result = "same" | "problems" | "conflicts" | "held" | "interrupted" | "failed" | "dry-run";

export type Summary = {
  readonly type: "summary";
  readonly result: Result;
  readonly runId: string;
  /** Files now known to be the same on both sides. */
  readonly files: number;
  /** Changes made. */
  readonly changes: number;
  /** Those of them that gave a damaged file its bytes back. */
  readonly healed: number;
  /** Changes of a plan that was held, or that a dry run was to show. */
  readonly planned: number;
  /** The brake held the plan, or would have: a dry run shows it and changes nothing in any case. */
  readonly held: boolean;
  readonly conflicts: number;
  readonly problems: number;
  readonly bytes: {
    readonly scanned: number;
    readonly literal: number;
    readonly reused: number;
    readonly sent: number;
    readonly received: number;
  };
  readonly seconds: number;
};

export type Settle = "immediate" | "throttle" | "debounce";

/** Limit of the mass-change brake: how many entries of one side a plan may remove without being held. */
export type Brake = { readonly count: number | undefined; readonly percent: number | undefined };

export type ScrubOptions = {
  /** From the beginning of a pass to that of the next one. */
  readonly everyMs: number;
  /** Of each side; at least 1. Undefined: the usual. */
  readonly bytesPerSecond?: number | undefined;
};

export type SessionOptions = {
  readonly mode: Mode;
  readonly conflict: ConflictPolicy;
  /** The policy is meant for conflicts at and below these paths; others are left. Undefined: for all. */
  readonly conflictPaths?: readonly RelPath[] | undefined;
  /** One-way modes: may entries that exist only on beta be removed? two-way modes propagate deletes always. */
  readonly delete: boolean;
  readonly brake: Brake | undefined;
  /** Plan hash that a person approved; that plan alone runs past the brake. */
  readonly approve: string | undefined;
  readonly dryRun: boolean;
  readonly watch: boolean;
  readonly settle: Settle;
  /** Full rescan in watch mode, and the interval of polling where watching is not possible. */
  readonly rescanMs: number;
  /** Hash every file again in the first scan. */
  readonly deep: boolean;
  /** While watching: read all files again in the background. Undefined: do not. */
  readonly scrub?: ScrubOptions | undefined;
  readonly ignore: readonly string[];
  readonly include: readonly string[];
  readonly preserve: Preserve;
  readonly durable: Durable;
  readonly verifyReadBack: boolean;
  readonly compress: CompressMode;
  /** Content bytes per second that the session moves at most; undefined: no limit. A function is asked again and again. */
  readonly bytesPerSecond: number | (() => number | undefined) | undefined;
  /** Per-path events are sent only when wanted; they cost time on large runs. */
  readonly verbose: boolean;
  /** Alpha's root, too, may be made by the first run, where the session may write it: neither side is the origin. */
  readonly createAlpha?: boolean | undefined;
  /** Compare as if for the first time and remember nothing afterwards; a root that does not exist is an error then. */
  readonly ephemeral?: boolean | undefined;
};
