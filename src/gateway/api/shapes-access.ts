/** What the calls about people and their credentials have in common. */
import * as z from "zod";
import type { Wanted } from "#gateway/api/route.ts";
import { whole } from "#gateway/api/shapes.ts";

const ROWS_MAX = 1000;
export const NAME = z.string().min(1).max(255);
export const BY_NAME = z.object({ name: NAME });
export const TIME = z.iso.datetime();
export const PAGE = z.strictObject({ after: z.string().max(255).default(""), limit: whole(1, ROWS_MAX).default(100) });
export const NEXT = z.string().optional().describe("Absent: this was the last page");

export const iso = (ms: number): string => new Date(ms).toISOString();

/** Where the next page begins, when this one is full. */
export const next = (rows: readonly unknown[], limit: number, last: string | undefined): { nextAfter?: string } =>
  rows.length < limit || last === undefined ? {} : { nextAfter: last };

type Kind = "user" | "token" | "role" | "audit";

export const on = (type: Kind, action: "read" | "manage", name: string): readonly Wanted[] => [
  { action, resource: { type, name } },
];

/** Tokens, keys and sessions of a user are one kind of thing to roles; every user has leave for their own. */
export const onCredentials = (action: "read" | "manage", user: string): readonly Wanted[] => on("token", action, user);
