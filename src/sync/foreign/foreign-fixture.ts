/** A real directory and a foreign system in memory, and sessions between them whose waiting takes no time. */
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import type { Side } from "#model/plan.ts";
import { openHost } from "#platform/host-bun.ts";
import type { Clock, Host } from "#platform/host.ts";
import { DirEndpoint } from "#sync/endpoint/dir-endpoint.ts";
import type { Endpoint, SumSeeds } from "#sync/endpoint/endpoint.ts";
import { ForeignEndpoint } from "#sync/foreign/foreign-endpoint.ts";
import type { ForeignFiles } from "#sync/foreign/foreign-files.ts";
import { openSqliteStore } from "#sync/index/sqlite-store.ts";
import type { Store } from "#sync/index/store.ts";
import type { SessionEvent, SessionOptions, Summary } from "#sync/session/events.ts";
import { runSession } from "#sync/session/session.ts";
import { PLAIN_OPTIONS } from "#sync/session/session-fixture.ts";
import { SessionState } from "#sync/session/state.ts";

export const SESSION = "5".repeat(32);

function shortHash(text: string): string {
  return new Bun.CryptoHasher("sha256").update(text).digest("hex").slice(0, 32);
}

export type Ran = { readonly summary: Summary | undefined; readonly error: Error | undefined; readonly events: SessionEvent[] };

export class ForeignPair implements Disposable {
  readonly dir = mkdtempSync(join(tmpdir(), "syncline-foreign-"));
  readonly root = join(this.dir, "root");
  readonly client: () => ForeignFiles;
  readonly #session: Partial<SessionOptions>;
  readonly #foreignSide: Side;
  /** Added to the wall clock. */
  aheadMs = 0;

  constructor(client: () => ForeignFiles, session: Partial<SessionOptions> = {}, foreignSide: Side = "beta") {
    this.client = client;
    this.#session = session;
    this.#foreignSide = foreignSide;
    mkdirSync(this.root);
    mkdirSync(join(this.dir, "stage"));
  }

  [Symbol.dispose](): void {
    rmSync(this.dir, { recursive: true, force: true });
  }

  #store(name: string): Store {
    const file = join(this.dir, "state", `${name}.db`);
    mkdirSync(dirname(file), { recursive: true });
    return openSqliteStore(file);
  }

  host(): Host {
    const host = openHost();
    const clock: Clock = {
      nowMs: () => host.clock.nowMs() + this.aheadMs,
      monotonicMs: () => host.clock.monotonicMs(),
      sleep: (_ms, signal) => host.clock.sleep(0, signal),
    };
    return { ...host, clock };
  }

  foreign(host = this.host()): ForeignEndpoint {
    return new ForeignEndpoint({
      host,
      files: this.client(),
      owner: "abcd",
      place: { server: "memory://one", path: "/place" },
      openStore: (name) => this.#store(`foreign/${name}`),
      removeStore: (name) => rmSync(join(this.dir, "state", "foreign", `${name}.db`), { force: true }),
      stageFolder: join(this.dir, "stage"),
      hash: shortHash,
    });
  }

  local(host = this.host()): DirEndpoint {
    const openStore = (name: string): Store => this.#store(`local/${name}`);
    return new DirEndpoint({ host, path: this.root, label: "local", openStore, hash: shortHash });
  }

  async run(more: Partial<SessionOptions> = {}): Promise<Ran> {
    const host = this.host();
    const events: SessionEvent[] = [];
    const store = this.#store("session");
    const ends: Record<"foreign" | "local", () => Endpoint> = { foreign: () => this.foreign(host), local: () => this.local(host) };
    const isAlpha = this.#foreignSide === "alpha";
    try {
      const summary = await runSession({
        sessionId: SESSION,
        alpha: isAlpha ? ends.foreign : ends.local,
        beta: isAlpha ? ends.local : ends.foreign,
        options: { ...PLAIN_OPTIONS, ...this.#session, ...more },
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

  put(path: string, text: string | Uint8Array, mtimeMs?: number): void {
    const file = join(this.root, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
    if (mtimeMs !== undefined) utimesSync(file, mtimeMs / 1000, mtimeMs / 1000);
  }

  remove(path: string): void {
    rmSync(join(this.root, path), { recursive: true });
  }

  mtimeMs(path: string): number {
    return statSync(join(this.root, path)).mtimeMs;
  }

  /** Files by path. */
  files(): Record<string, string> {
    const out: Record<string, string> = {};
    const names = readdirSync(this.root, { recursive: true, withFileTypes: true });
    for (const item of names) {
      const path = join(item.parentPath, item.name).slice(this.root.length + 1);
      if (item.isFile() && !path.startsWith(".syncline/")) out[path] = readFileSync(join(this.root, path), "utf8");
    }
    return Object.fromEntries(Object.entries(out).sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}

/** The foreign side by itself, as the session of the pair has it open. */
export async function withForeign<T>(pair: ForeignPair, body: (endpoint: ForeignEndpoint, signal: AbortSignal) => Promise<T>): Promise<T> {
  const store = openSqliteStore(join(pair.dir, "state", "session.db"));
  const state = new SessionState(store, openHost().random);
  const endpoint = pair.foreign();
  const { signal } = new AbortController();
  const seeds: SumSeeds = state.seeds;
  try {
    const preserve = await endpoint.carries(PRESERVE_DEFAULT, true, signal);
    await endpoint.open({
      sessionId: SESSION, seeds, writable: true, ignore: [], include: [], preserve, durable: "none", verifyReadBack: false,
      compress: "none", createRoot: false, expectRootId: state.marks.beta?.rootId,
    }, signal);
    return await body(endpoint, signal);
  } finally {
    await endpoint.close();
    store.close();
  }
}
