/** Asks an agent to look at a link's root anew, and waits until it has. A host that is away is tried again later. */
import type { AgentListener } from "#hub/agents/listener.ts";
import type { AgentRegistry } from "#hub/agents/registry.ts";
import type { RESCAN_ARGS } from "#hub/jobs/kinds.ts";
import type { JobWork } from "#jobs/kind.ts";
import { SynclineError } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import type * as z from "zod";

/** How often it is looked how far the host is. */
const LOOK_MS = 2000;

export type RescanParts = {
  readonly registry: AgentRegistry;
  readonly listener: Pick<AgentListener, "rescan" | "presence">;
  readonly clock: Clock;
};

export function rescanWork({ registry, listener, clock }: RescanParts): JobWork<z.infer<typeof RESCAN_ARGS>> {
  return async ({ host, link: begins }, { id, tell, signal }) => {
    const [found, another] = registry.linksOf(host).filter((one) => one.id.startsWith(begins));
    if (found === undefined || another !== undefined) throw noLink(host, begins, another !== undefined);
    const link = found.id;
    const over = new AbortController();
    const ended = AbortSignal.any([signal, over.signal]);
    const asked = listener.rescan(host, link, id, signal).finally(() => over.abort());
    // Met below, unless what is told meanwhile ends the job first.
    asked.catch(() => undefined);
    while (!ended.aborted) {
      const state = listener.presence.heard(host, link, clock.monotonicMs())?.state;
      if (state !== undefined) tell({ done: state.files, unit: "files", phase: state.phase });
      await clock.sleep(LOOK_MS, ended).catch(() => undefined);
    }
    await asked;
    const files = listener.presence.heard(host, link, clock.monotonicMs())?.state.files;
    return files === undefined ? {} : { files };
  };
}

function noLink(host: string, link: string, areMany: boolean): SynclineError {
  return new SynclineError({
    code: "NOT_FOUND",
    op: "rescan",
    message: `the host ${host} has ${areMany ? "several links that begin with" : "no link"} ${link}`,
    hint: `syncline links ${host} lists those that it has`,
  });
}
