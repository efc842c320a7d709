/** The options of the doors, made of the table of their keys: a door that has a key has its option. */
import { DOOR_KEYS } from "#config/door-keys.ts";
import { type HubKey, flagOf } from "#config/hub-keys.ts";

type Dashed<Name extends string> = Name extends `${infer Head}${infer Tail}`
  ? `${Head extends Lowercase<Head> ? Head : `-${Lowercase<Head>}`}${Dashed<Tail>}`
  : Name;

export type DoorOption = Dashed<keyof typeof DOOR_KEYS>;
type DoorSpec = { readonly type: "text"; readonly value: string; readonly help: string; readonly fallback: string };

export const DOOR_OPTIONS = Object.fromEntries(
  Object.entries(DOOR_KEYS).map(([key, { value, help, fallback }]) => [flagOf(key as HubKey), { type: "text", value, help, fallback }]),
) as Readonly<Record<DoorOption, DoorSpec>>;

export const DOOR_CONFIG = Object.keys(DOOR_OPTIONS) as DoorOption[];
