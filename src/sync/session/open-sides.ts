/** Opens both endpoints and refuses pairs that cannot be synchronised safely. */
import { SynclineError } from "#model/error.ts";
import type { Mode, Side } from "#model/plan.ts";
import type { Endpoint, OpenReply, OpenRequest } from "#sync/endpoint/endpoint.ts";
import type { Preserve } from "#model/entry.ts";
import { otherSide } from "#sync/plan/rows.ts";
import type { SideSession } from "#sync/session/cycle.ts";
import type { SessionOptions } from "#sync/session/events.ts";
import type { SessionInput } from "#sync/session/session.ts";
import type { SideMark } from "#sync/session/side-mark.ts";
import { SIDES, type SessionState } from "#sync/session/state.ts";

export const isOneWay = (mode: Mode): boolean => mode === "one-way-safe" || mode === "one-way-replica";

export async function openSides(
  input: SessionInput,
  state: SessionState,
  alpha: Endpoint,
  beta: Endpoint,
): Promise<{ readonly sides: Record<Side, SideSession>; readonly preserve: Preserve }> {
  const { options, signal } = input;
  const preserve = await carriedByBoth(options, alpha, beta, signal);
  const request = (side: Side): OpenRequest => ({
    sessionId: input.sessionId,
    seeds: state.seeds,
    writable: !options.dryRun && isWritten(side, options.mode),
    ignore: options.ignore,
    include: options.include,
    preserve,
    durable: options.durable,
    verifyReadBack: options.verifyReadBack,
    compress: options.compress,
    createRoot:
      state.marks[side] === undefined && (side === "beta" || options.createAlpha === true) && options.ephemeral !== true,
    expectRootId: state.marks[side]?.rootId,
    ephemeral: options.ephemeral ?? false,
  });
  // One after the other: should both be the same directory, they must not prepare it at the same time.
  const a = await alpha.open(request("alpha"), signal);
  const b = await beta.open(request("beta"), signal);
  refuseOverlap(a, b);
  const replies = { alpha: a, beta: b };
  const isLost = SIDES.some((side) => memoryLost(state, side, replies[side]));
  if (isLost || SIDES.some((side) => filtersChanged(state, side, replies[side]))) {
    const aged = new Set(SIDES.map((side) => agedSide(state, side, replies[side])).filter((side) => side !== undefined));
    state.store.transaction({ durable: true }, () => {
      state.reset();
      // Were it both, neither would say anything of the other.
      if (aged.size === 1) [state.restored] = aged;
    });
  }
  return { sides: { alpha: { endpoint: alpha, reply: a }, beta: { endpoint: beta, reply: b } }, preserve };
}

/** What of the metadata both sides can carry. The same for a dry run as for the run that it is to show. */
export async function carriedByBoth(
  options: Pick<SessionOptions, "preserve" | "mode">,
  alpha: Endpoint,
  beta: Endpoint,
  signal: AbortSignal,
): Promise<Preserve> {
  let { preserve } = options;
  for (const [side, endpoint] of [["alpha", alpha], ["beta", beta]] as const) {
    preserve = (await endpoint.carries?.(preserve, isWritten(side, options.mode), signal)) ?? preserve;
  }
  return preserve;
}

function isWritten(side: Side, mode: Mode): boolean {
  return side === "beta" || !isOneWay(mode);
}

const MARKER_ID = /^[0-9a-f]{32}$/;

/** The same tree twice, or one inside the other, would copy itself into itself for ever. */
function refuseOverlap(a: OpenReply, b: OpenReply): void {
  // The same directory once here and once through a server of another kind: both read the same marker.
  if (a.rootId === b.rootId && MARKER_ID.test(a.rootId) && (a.notes ?? b.notes) !== undefined) {
    throw overlap(a.absolutePath, b.absolutePath);
  }
  if (a.hostName !== b.hostName) return;
  refuseNested(a.absolutePath, b.absolutePath);
  if (a.device === b.device) throw overlap(a.absolutePath, b.absolutePath);
}

/**
 * For two paths on one host, absolute and without symlinks: can be asked before anything is opened or created.
 *
 * @throws {SynclineError} ROOT_OVERLAP when they are the same, or one lies in the other
 */
export function refuseNested(a: string, b: string): void {
  const below = (x: string, y: string): boolean => x === y || x.startsWith(y.endsWith("/") ? y : `${y}/`);
  if (below(a, b) || below(b, a)) throw overlap(a, b);
}

/** The error for two sides that are one. */
export function overlap(a: string, b: string): SynclineError {
  return new SynclineError({
    code: "ROOT_OVERLAP",
    op: "open",
    message: `${a} and ${b} are the same directory, or one lies in the other`,
    hint: "choose two separate directories",
  });
}

/**
 * Did a side lose its index, or was it, or what we know, restored from a backup? Comparing everything from an empty
 * ancestor can show conflicts, but deletes and overwrites nothing.
 */
function memoryLost(state: SessionState, side: Side, reply: OpenReply): boolean {
  return state.knownMarks(side).some((mark) => hasGoneBack(mark, reply) || mark.seq < reply.keptAfter);
}

const hasGoneBack = ({ epoch, seq }: SideMark, reply: OpenReply): boolean =>
  epoch !== reply.epoch || reply.lastSeq < seq;

/**
 * The side that may hold old files, not new ones. One that has forgotten what we never saw has not gone back itself: it
 * forgets what we have stored, so our memory is the old one, and was put back with the side that is here. Were both sides
 * elsewhere, each would say so of the other.
 */
function agedSide(state: SessionState, side: Side, reply: OpenReply): Side | undefined {
  const marks = state.knownMarks(side);
  if (marks.some((mark) => hasGoneBack(mark, reply))) return side;
  // Whoever saw nothing asks for everything: a first copy that was cut off.
  return marks.some(({ seq }) => seq > 0 && seq < reply.keptAfter) ? otherSide(side) : undefined;
}

/**
 * With other rules than before, a path that is not seen may be ignored now, and one that was ignored may have gone
 * meanwhile: neither is a deletion. The rules in ignore files are not meant; the endpoint reports what they change.
 */
function filtersChanged(state: SessionState, side: Side, reply: OpenReply): boolean {
  return state.knownMarks(side).some(({ filterHash }) => filterHash !== reply.filterHash);
}
