import { EventEmitter } from "node:events";
import { expect, test } from "bun:test";
import { Metadata, type ServerWritableStream, status } from "@grpc/grpc-js";
import { systemPrincipal } from "#access/access.ts";
import type { HubAccess } from "#access/hub-access.ts";
import { type CallParts, outgoing } from "#gateway/grpc/calls.ts";

/** A call of which the test says when there is room again. */
class Call extends EventEmitter {
  readonly cancelled = false;
  readonly metadata = new Metadata();
  readonly sent: object[] = [];
  hasEnded = false;

  constructor() {
    super();
    this.metadata.set("authorization", "Bearer token");
  }

  getPeer(): string {
    return "127.0.0.1:1";
  }

  write(message: object): boolean {
    this.sent.push(message);
    return false;
  }

  end(): void {
    this.hasEnded = true;
  }
}

test("[GRPC-54] who takes nothing of an answer for long loses its place; who takes some of it has the rest", async () => {
  const sleeps: PromiseWithResolvers<void>[] = [];
  const clock = {
    sleep: (_ms: number, signal: AbortSignal): Promise<void> => {
      const sleep = Promise.withResolvers<void>();
      signal.addEventListener("abort", () => sleep.reject(new Error("woken")), { once: true });
      sleeps.push(sleep);
      return sleep.promise;
    },
  };
  const access = { generation: 0, authenticate: () => Promise.resolve(systemPrincipal("test")) } as unknown as HubAccess;
  const parts: CallParts = { access, clock, newTraceId: () => "0".repeat(32), onFault: () => undefined };
  let atWork = 0;
  const answer = outgoing<object>(parts, async (_request, _caller, send) => {
    atWork++;
    try {
      for (let number = 0; number < 3; number++) await send({ number });
    } finally {
      atWork--;
    }
  });
  const begin = (): Call => {
    const call = new Call();
    answer(call as unknown as ServerWritableStream<object, object>);
    return call;
  };
  const slow = begin();
  for (let number = 1; number <= 3; number++) {
    while (slow.sent.length < number) await Bun.sleep(1);
    slow.emit("drain");
  }
  while (!slow.hasEnded) await Bun.sleep(1);
  expect([slow.sent.length, atWork, sleeps.length]).toEqual([3, 0, 3]);
  const stuck = begin();
  const told = new Promise<{ code: status }>((resolve) => void stuck.on("error", resolve));
  while (sleeps.length < 4) await Bun.sleep(1);
  sleeps.at(-1)!.resolve();
  expect((await told).code).toBe(status.RESOURCE_EXHAUSTED);
  expect([stuck.sent.length, atWork]).toEqual([1, 0]);
  for (const event of ["drain"]) expect([slow.listenerCount(event), stuck.listenerCount(event)]).toEqual([0, 0]);
});
