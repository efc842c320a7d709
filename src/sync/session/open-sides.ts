/** Opens both endpoints and refuses pairs that cannot be synchronised safely. */
import { SynclineError } from "#model/error.ts";
import type { Mode, Side } from "#model/plan.ts";
import type { Endpoint, OpenReply, OpenRequest } from "#sync/endpoint/endpoint.ts";
import type { SideSession } from "#sync/session/cycle.ts";
import type { SessionInput } from "#sync/session/session.ts";
import type { SessionState } from "#sync/session/state.ts";

export const isOneWay = (mode: Mode): boolean => mode === "one-way-safe" || mode === "one-way-replica";

export async function openSides(
  input: SessionInput,
  state: SessionState,
  alpha: Endpoint,
  beta: Endpoint,
): Promise<Record<Side, SideSession>> {
  const { options, signal } = input;
  const request = (side: Side): OpenRequest => ({
    sessionId: input.sessionId,
    seeds: state.seeds,
    writable: side === "beta" ? !options.dryRun : !options.dryRun && !isOneWay(options.mode),
    ignore: options.ignore,
    include: options.include,
    preserve: options.preserve,
    durable: options.durable,
    verifyReadBack: options.verifyReadBack,
    compress: options.compress,
    createRoot: state.marks[side] === undefined && side === "beta",
    expectRootId: state.marks[side]?.rootId,
  });
  const settled = await Promise.allSettled([alpha.open(request("alpha"), signal), beta.open(request("beta"), signal)]);
  const failed = settled.find((one) => one.status === "rejected");
  if (failed !== undefined) throw failed.reason;
  const [a, b] = settled.map((one) => (one as PromiseFulfilledResult<OpenReply>).value) as [OpenReply, OpenReply];
  refuseOverlap(a, b);
  if (memoryLost(state, "alpha", a) || memoryLost(state, "beta", b)) state.reset();
  return { alpha: { endpoint: alpha, reply: a }, beta: { endpoint: beta, reply: b } };
}

/** The same tree twice, or one inside the other, would copy itself into itself for ever. */
function refuseOverlap(a: OpenReply, b: OpenReply): void {
  if (a.hostName !== b.hostName) return;
  const below = (x: string, y: string): boolean => x === y || x.startsWith(y.endsWith("/") ? y : `${y}/`);
  const nested = below(a.absolutePath, b.absolutePath) || below(b.absolutePath, a.absolutePath);
  if (a.device !== b.device && !nested) return;
  throw new SynclineError({
    code: "ROOT_OVERLAP",
    op: "open",
    message: `${a.absolutePath} and ${b.absolutePath} are the same directory, or one lies in the other`,
    hint: "choose two separate directories",
  });
}

/**
 * Did a side lose its index, or was it restored from a backup? Then what it holds may be old, not new: comparing
 * everything from an empty ancestor can show conflicts, but deletes and overwrites nothing.
 */
function memoryLost(state: SessionState, side: Side, reply: OpenReply): boolean {
  const mark = state.marks[side];
  if (mark === undefined) return false;
  return mark.epoch !== reply.epoch || reply.lastSeq < mark.seq || mark.seq < reply.keptAfter;
}
