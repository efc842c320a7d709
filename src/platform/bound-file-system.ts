/** A file system as a plain object, so that single methods can be replaced by others. */
import type { FileSystem } from "#platform/file-system.ts";

/** All methods, those of its class included, bound to `real`. */
export function boundFileSystem(real: FileSystem): FileSystem {
  const all: Record<string, unknown> = { platform: real.platform };
  for (let level: object = real; level !== Object.prototype; level = Object.getPrototypeOf(level) as object) {
    for (const name of Object.getOwnPropertyNames(level)) {
      const value = (real as unknown as Record<string, unknown>)[name];
      if (name in all || name === "constructor" || typeof value !== "function") continue;
      all[name] = (value as (...args: unknown[]) => unknown).bind(real);
    }
  }
  return all as unknown as FileSystem;
}
