/** Keys of the doors of a hub. Every listener is off until its key is given. */
import type { KeySpec } from "#config/hub-keys.ts";

export const DOOR_KEYS = {} as const satisfies Record<string, KeySpec>;
