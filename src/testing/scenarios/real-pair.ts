/** Two real directories and sessions between them, with the state in SQLite, for scenarios that need a real disk. */
import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { tmpdir } from "node:os";
import { DirEndpoint } from "#sync/endpoint/dir-endpoint.ts";
import { openSqliteStore } from "#sync/index/sqlite-store.ts";
import type { Store } from "#sync/index/store.ts";
import type { SessionEvent, SessionOptions } from "#sync/session/events.ts";
import { runSession } from "#sync/session/session.ts";
import type { Side } from "#model/plan.ts";
import { canonicalPath } from "#platform/folders.ts";
import { openHost } from "#platform/host-bun.ts";
import type { FileSystem } from "#platform/file-system.ts";
import type { Host } from "#platform/host.ts";
import { OPTIONS, type Outcome } from "#testing/scenarios/sim-pair.ts";

function shortHash(text: string): string {
  return new Bun.CryptoHasher("sha256").update(text).digest("hex").slice(0, 12);
}

export class RealPair implements Disposable {
  readonly dir: string;
  readonly roots: Record<Side, string>;
  /** What stands between a side and its disk. */
  wrap: (side: Side, fs: FileSystem) => FileSystem = (_side, fs) => fs;
  readonly #session: Partial<SessionOptions>;

  constructor(session: Partial<SessionOptions> = {}) {
    this.#session = session;
    this.dir = mkdtempSync(join(tmpdir(), "syncline-scenario-"));
    this.roots = { alpha: join(this.dir, "alpha"), beta: join(this.dir, "beta") };
    for (const root of Object.values(this.roots)) mkdirSync(root);
  }

  [Symbol.dispose](): void {
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** Where a side keeps what it knows of its root; the session's own state is alpha's host's. */
  stateDir(side: Side): string {
    return join(this.dir, `state-${side}`);
  }

  #store(side: Side, name: string): Store {
    const file = join(this.stateDir(side), `${name}.db`);
    mkdirSync(dirname(file), { recursive: true });
    return openSqliteStore(file);
  }

  #endpoint(host: Host, side: Side): DirEndpoint {
    const openStore = (name: string): Store => this.#store(side, name);
    const path = canonicalPath(this.roots[side]);
    return new DirEndpoint({ host: { ...host, fs: this.wrap(side, host.fs) }, path, label: side, openStore, hash: shortHash });
  }

  /** Runs one session to its end. */
  async run(more: Partial<SessionOptions> = {}): Promise<Outcome> {
    const host = openHost();
    const events: SessionEvent[] = [];
    const store = this.#store("alpha", "session");
    try {
      const summary = await runSession({
        sessionId: "6".repeat(32),
        alpha: () => this.#endpoint(host, "alpha"),
        beta: () => this.#endpoint(host, "beta"),
        options: { ...OPTIONS, ...this.#session, ...more },
        store,
        host,
        onEvent: (event) => events.push(event),
        hash: shortHash,
        signal: new AbortController().signal,
      });
      return { summary, error: undefined, events };
    } catch (error) {
      return { summary: undefined, error: error as Error, events };
    } finally {
      store.close();
    }
  }

  /** A backup of what a host has: its root and its state, as `cp -a` makes it. */
  backUp(side: Side): () => void {
    const kept = join(this.dir, `backup-${side}`);
    const parts = [this.roots[side], this.stateDir(side)];
    const copy = (from: string, to: string): void => cpSync(from, to, { recursive: true, preserveTimestamps: true });
    for (const [at, part] of parts.entries()) copy(part, join(kept, String(at)));
    return () => {
      for (const [at, part] of parts.entries()) {
        rmSync(part, { recursive: true });
        copy(join(kept, String(at)), part);
      }
    };
  }
}
