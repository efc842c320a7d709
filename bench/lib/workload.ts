/** What a benchmark is: one workload, the rows that it fills in the table, and the bars they are held to. */
import type { PeerName } from "./peers.ts";

export type Unit = "s" | "ms" | "bytes" | "bytes/file" | "/s" | "%";

/** Which number of a series is compared. */
export type Statistic = "median" | "p99" | "max";

/** The largest or the least value that is good enough: of ours ÷ peer, or of our own figure in the row's unit. */
export type Bar = { readonly of: "ratio" | "figure" } & ({ readonly max: number } | { readonly min: number });

export type RowSpec = {
  /** Unique among all rows; also the key in results.json. */
  readonly id: string;
  readonly measure: string;
  readonly unit: Unit;
  readonly statistic: Statistic;
  /** Who is compared, as printed; undefined where a figure stands alone. */
  readonly peer: string | undefined;
  /** Undefined: the row is for orientation. */
  readonly bar: Bar | undefined;
};

/** One row's series, in the row's unit, in the order in which they were taken. */
export type Measured = {
  readonly id: string;
  readonly ours: readonly number[];
  readonly peer?: readonly number[] | undefined;
  readonly note?: string | undefined;
};

export type BenchContext = {
  /** A directory of this run; removed at its end. */
  readonly dir: string;
  /** 1 is the size that the title names. */
  readonly scale: number;
  readonly say: (text: string) => void;
  /** Data that several workloads read and none changes; made when first asked for, in a directory of its own. */
  readonly fixture: <T>(name: string, make: (dir: string) => T | Promise<T>) => Promise<T>;
};

export type Workload = {
  readonly name: string;
  readonly title: string;
  /** Timed runs when --runs does not say otherwise. */
  readonly runs: number;
  readonly needs: readonly PeerName[];
  readonly rows: readonly RowSpec[];
  /** Why a bar is missed where one is, and what was tried; shown then. */
  readonly ifMissed?: string | undefined;
  /** Fills every row. Throws WrongResult when a side did not end as it should. */
  readonly measure: (context: BenchContext, runs: number) => Promise<Measured[]>;
};

/** A program finished and the destination is not what it should be: its time means nothing. */
export class WrongResult extends Error {}

/** `count` of the full size at this scale, at least `least`. */
export function scaled(context: BenchContext, count: number, least = 1): number {
  return Math.max(least, Math.round(count * context.scale));
}
