/** Tells those who listen that a space has changed: soon, and once for all that happens in one turn. */
import type { SpaceEvent } from "#hub/space-service.ts";

type Watcher = { readonly onEvent: (event: SpaceEvent) => void; readonly waiting: Map<string, SpaceEvent> };

export class SpaceWatchers {
  /** By space; "*" hears of all. */
  readonly #watchers = new Map<string, Set<Watcher>>();

  /** @param onEvent must not throw */
  add(space: string, onEvent: (event: SpaceEvent) => void, signal: AbortSignal): void {
    if (signal.aborted) return;
    const watcher: Watcher = { onEvent, waiting: new Map() };
    const here = this.#watchers.get(space) ?? new Set();
    this.#watchers.set(space, here.add(watcher));
    const remove = (): void => {
      watcher.waiting.clear();
      // By the name that the space has now.
      for (const [name, watchers] of this.#watchers) {
        if (watchers.delete(watcher) && watchers.size === 0) this.#watchers.delete(name);
      }
    };
    signal.addEventListener("abort", remove, { once: true });
  }

  /** A space has another name from now on: whoever listens to it goes on. */
  rename(from: string, to: string): void {
    const watchers = this.#watchers.get(from);
    if (watchers === undefined) return;
    this.#watchers.delete(from);
    const there = this.#watchers.get(to);
    if (there === undefined) this.#watchers.set(to, watchers);
    else for (const one of watchers) there.add(one);
  }

  tell(event: SpaceEvent): void {
    for (const key of [event.space, "*"]) {
      for (const watcher of this.#watchers.get(key) ?? []) this.#wake(watcher, event);
    }
  }

  #wake({ waiting, onEvent }: Watcher, event: SpaceEvent): void {
    const earlier = waiting.get(event.space);
    waiting.set(event.space, earlier === undefined ? event : { ...event, before: earlier.before });
    if (waiting.size > 1 || earlier !== undefined) return;
    queueMicrotask(() => {
      const events = [...waiting.values()];
      waiting.clear();
      for (const one of events) onEvent(one);
    });
  }
}
