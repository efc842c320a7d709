/** Everything else of the outside world that the engine may use; the simulator gives its own. */
import type { FileSystem } from "#platform/file-system.ts";
import type { WatchSource } from "#platform/watch-source.ts";

export interface Clock {
  /** Wall clock, milliseconds since 1970; may jump. For records and messages, never for measuring. */
  nowMs(): number;
  /** Monotonic, milliseconds from an arbitrary start. */
  monotonicMs(): number;
  /** Resolves after `ms`, rejects with `signal.reason` when aborted first. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

export interface Random {
  bytes(count: number): Uint8Array;
}

export type Uptime = {
  /** Another one after each start of the system. */
  readonly start: string;
  /** Whoever sets the wall clock does not change it. */
  readonly ms: number;
};

export interface Host {
  readonly fs: FileSystem;
  readonly clock: Clock;
  readonly random: Random;
  /** Undefined where the platform cannot watch; the session then rescans on a timer. */
  readonly watch: WatchSource | undefined;
  readonly hostName: string;
  /** Which start of the system this is, and for how long it has run, to a second. Undefined where it does not say. */
  uptime(): Uptime | undefined;
  /**
   * SHA-256 of the bytes as they are at the call; shared memory must stay as it is until it resolves. Much is hashed on
   * another thread, so that this one is free meanwhile; what is not in shared memory is copied for that.
   */
  sha256(bytes: Uint8Array): Promise<Uint8Array>;
  /** Frees what is garbage now; takes time by what lives. For the seams of very large plans. */
  collectGarbage(): void;
}
