/** What every call has in common: who asks, what it may wait for, and how it ends. */
import type { EventEmitter } from "node:events";
import type { Metadata, ServerReadableStream, ServerUnaryCall, ServerWritableStream, sendUnaryData } from "@grpc/grpc-js";
import type { Principal } from "#access/access.ts";
import type { HubAccess } from "#access/hub-access.ts";
import { SynclineError } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import { PACE_WINDOW_MS, pacedPieces } from "#platform/net/pace.ts";
import { statusOf } from "#gateway/grpc/status.ts";
import { type Renew, signedIn } from "#gateway/renewing.ts";

/** A call that somebody may make. */
export type Caller = {
  readonly who: Principal;
  /** Who asks, as of now: for what is done when bytes have come for long. @throws {SynclineError} AUTH */
  readonly renew: Renew;
  /** Looks at the credential again. @throws {SynclineError} AUTH when it is none any more */
  readonly again: Renew;
  /** 32 hex digits. */
  readonly traceId: string;
  /** Aborted when the caller has gone, or has set a deadline that is over. */
  readonly signal: AbortSignal;
};

export type CallParts = {
  readonly access: HubAccess;
  readonly clock: Pick<Clock, "sleep">;
  readonly newTraceId: () => string;
  readonly onFault: (error: unknown) => void;
};

type AnyCall = EventEmitter & { readonly cancelled: boolean; readonly metadata: Metadata; getPeer(): string };

async function callerOf({ access, newTraceId }: CallParts, call: AnyCall): Promise<Caller> {
  const gone = new AbortController();
  call.on("cancelled", () => gone.abort());
  if (call.cancelled) gone.abort();
  const token = tokenOf(call);
  const address = addressOf(call);
  const signed = await signedIn(access, () => access.authenticate({ type: "token", token, address }));
  return { ...signed, traceId: newTraceId(), signal: gone.signal };
}

/** Of a peer that the library calls "127.0.0.1:4711" or "[::1]:4711". */
export function addressOf(call: { getPeer(): string }): string {
  return call.getPeer().replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
}

function tokenOf({ metadata }: AnyCall): string {
  const [text] = metadata.get("authorization");
  const token = typeof text === "string" ? /^Bearer +(\S{1,1024})$/i.exec(text)?.[1] : undefined;
  if (token !== undefined) return token;
  throw new SynclineError({
    code: "AUTH",
    op: "authenticate",
    message: "this call has no token",
    hint: "send the metadata authorization: Bearer TOKEN",
  });
}

/** One question, one answer. */
export function unary<Request>(parts: CallParts, handle: (request: Request, caller: Caller) => Promise<object>) {
  return (call: ServerUnaryCall<object, object>, answer: sendUnaryData<object>): void => {
    void callerOf(parts, call)
      .then((caller) => handle(call.request as Request, caller))
      .then((value) => answer(null, value), (error: unknown) => answer(statusOf(error, parts.onFault)));
  };
}

/**
 * Many questions, one answer. Messages are read as fast as `handle` takes them; a call that breaks off throws there, and
 * so does one whose messages come too slowly.
 * @param sizeOf bytes of one message
 */
export function incoming<Message>(
  parts: CallParts,
  handle: (messages: AsyncIterable<Message>, caller: Caller) => Promise<object>,
  sizeOf: (message: Message) => number,
) {
  return (call: ServerReadableStream<object, object>, answer: sendUnaryData<object>): void => {
    // Where nobody reads, nobody hears that it broke off.
    call.on("error", () => undefined);
    void callerOf(parts, call)
      .then(async (caller) => {
        const iterator = (call as unknown as AsyncIterable<Message>)[Symbol.asyncIterator]();
        const source = { next: () => iterator.next(), giveUp: () => void call.destroy() };
        const messages = pacedPieces(source, sizeOf);
        try {
          return await handle(messages, caller);
        } finally {
          // Of a call that is refused nobody reads the rest, and what looks after its pace would never end.
          await messages.return(undefined);
        }
      })
      .then((value) => answer(null, value), (error: unknown) => {
        // What the caller still sends goes nowhere.
        call.resume();
        answer(statusOf(call.cancelled ? interrupted() : error, parts.onFault));
      });
  };
}

/**
 * Who takes nothing of a message for so long lets its call hang, and others wait for its place. At the least rate that is
 * asked of those who send (pace.ts) 256 KiB go in it, which is a message of a download.
 */
const TAKEN_MS_MAX = 16 * PACE_WINDOW_MS;

/**
 * One question, many answers. `send` resolves when there is room for the next; it rejects when nobody listens any more, or
 * takes nothing.
 */
export function outgoing<Request>(
  parts: CallParts,
  handle: (request: Request, caller: Caller, send: (message: object) => Promise<void>) => Promise<void>,
) {
  return (call: ServerWritableStream<object, object>): void => {
    call.on("error", () => undefined);
    void callerOf(parts, call)
      .then((caller) => handle(call.request as Request, caller, (message) => sent(parts, call, message, caller.signal)))
      .then(() => call.end(), (error: unknown) => {
        const { code, details, metadata } = statusOf(call.cancelled ? interrupted() : error, parts.onFault);
        call.emit("error", { code, details, metadata });
      });
  };
}

async function sent(
  { clock }: Pick<CallParts, "clock">,
  call: ServerWritableStream<object, object>,
  message: object,
  signal: AbortSignal,
): Promise<void> {
  if (signal.aborted) throw interrupted();
  if (call.write(message)) return;
  const over = new AbortController();
  const room = Promise.withResolvers<boolean>();
  const settle = (): void => room.resolve(true);
  call.on("drain", settle);
  signal.addEventListener("abort", settle, { once: true });
  const late = clock.sleep(TAKEN_MS_MAX, over.signal).then(() => false, () => true);
  const isTaken = await Promise.race([room.promise, late]);
  over.abort();
  call.off("drain", settle);
  signal.removeEventListener("abort", settle);
  if (signal.aborted) throw interrupted();
  if (!isTaken) throw takesNothing();
}

function takesNothing(): SynclineError {
  const message = "the caller takes nothing of the answer";
  return new SynclineError({ code: "LIMIT", op: "gRPC", message, hint: "read it as it comes, and go on from where it ended" });
}

export function interrupted(): SynclineError {
  return new SynclineError({ code: "INTERRUPTED", op: "gRPC", message: "the caller has gone, or its deadline is over" });
}
