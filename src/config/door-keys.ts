/** Keys of the doors of a hub. Every listener is off until its key is given. */
import { FTP_KEYS } from "#config/ftp-keys.ts";
import type { KeySpec } from "#config/hub-keys.ts";

export const DOOR_KEYS = { ...FTP_KEYS } as const satisfies Record<string, KeySpec>;
