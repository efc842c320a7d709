/** The hub's configuration: what is in force, where it is from, and to read it again. */
import * as z from "zod";
import type { Actor } from "#access/audit.ts";
import { type AnyRoute, actorOf, json, route } from "#gateway/api/route.ts";

const KEY = z.object({
  key: z.string(),
  value: z.string().describe("As it would be written; secrets are left out"),
  source: z.string(),
  reloadable: z.boolean().describe("A new value counts without a restart"),
});
const STATE = z
  .object({
    valid: z.boolean().describe("False: what was read last is wrong, and the one before stays in force"),
    fault: z.string().optional(),
    loaded: z.iso.datetime(),
    restartNeeded: z.array(z.string()).describe("Keys whose new value waits for a restart"),
    keys: z.array(KEY),
  })
  .meta({ id: "Configuration" });
export type ConfigurationState = z.infer<typeof STATE>;
export type KeyState = z.infer<typeof KEY>;

const CHANGE = z.object({ key: z.string(), from: z.string(), to: z.string(), applied: z.boolean() });
const RELOADED = z
  .object({
    changes: z.array(CHANGE),
    restartNeeded: z.array(z.string()),
    bootstrap: z.object({ made: z.int(), changed: z.int(), same: z.int() }),
  })
  .meta({ id: "Reloaded" });
export type KeyChange = z.infer<typeof CHANGE>;
export type Reloaded = z.infer<typeof RELOADED>;

/** What the door needs of the configuration while the hub runs. */
export interface Configuration {
  readonly state: ConfigurationState;
  /** @throws {SynclineError} what is wrong with it; the last good one stays in force */
  reload(by: Actor, why: string): Promise<Reloaded>;
}

export const CONFIG_ROUTES: readonly AnyRoute[] = [
  route({
    id: "config.get",
    method: "GET",
    path: "/v1/config",
    summary: "The configuration in force, and what is wrong with the one that was read last",
    allowed: () => [{ action: "read", resource: { type: "config", name: "hub" } }],
    answers: { 200: { description: "The configuration", schema: STATE } },
    handle: ({ services }) => Promise.resolve(json(200, services.configuration.state)),
  }),
  route({
    id: "config.reload",
    method: "POST",
    path: "/v1/config/reload",
    summary: "Read the configuration again: all of it is right, or the last good one stays",
    allowed: () => [{ action: "manage", resource: { type: "config", name: "hub" } }],
    answers: { 200: { description: "What has changed", schema: RELOADED } },
    async handle(call) {
      return json(200, await call.services.configuration.reload(actorOf(call), "asked for"));
    },
  }),
];
