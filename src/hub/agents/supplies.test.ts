import { expect, test } from "bun:test";
import { Supplies } from "#hub/agents/supplies.ts";
import { openHost } from "#platform/host-bun.ts";
import { memoryTransports } from "#sync/transport/memory-transport.ts";
import { Mux } from "#sync/wire/mux.ts";
import type { MuxChannel } from "#sync/wire/mux-channel.ts";

const never = new AbortController().signal;
const { clock, random } = openHost();

/** An agent whose channels the hub takes as they come; resolves with what became of each. */
function connected(supplies: Supplies, host: string) {
  const outcomes: Promise<string>[] = [];
  const { client, server } = memoryTransports();
  const onOpen = (channel: MuxChannel): void => {
    const taken = supplies.take(host, channel).then(() => "taken", (error: unknown) => (error as { code: string }).code);
    outcomes.push(taken);
  };
  const hub = new Mux(server, { role: "server", clock, onOpen });
  const agent = new Mux(client, { role: "client", clock });
  const send = async (request: string, ...pieces: string[]): Promise<MuxChannel> => {
    const channel = agent.open("supply");
    await channel.send(Buffer.from(request));
    for (const piece of pieces) await channel.send(Buffer.from(piece));
    return channel;
  };
  const close = (): void => {
    agent.close();
    hub.close();
  };
  return { send, outcomes, close };
}

async function until(isTrue: () => boolean): Promise<void> {
  for (let tries = 0; tries < 500 && !isTrue(); tries++) await Bun.sleep(2);
  if (!isTrue()) throw new Error("it never came true");
}

test("[AGENT-75] a part that was asked for is taken once, on one channel, from whom it was asked", async () => {
  const supplies = new Supplies(clock, random);
  const web1 = connected(supplies, "web1");
  const web2 = connected(supplies, "web2");
  let request = "";
  const answer = supplies.ask("web1", 6, (number) => (request = number) !== "", never);
  (await web2.send(request, "forged")).end();
  const first = await web1.send(request, "abc");
  await until(() => web1.outcomes.length === 1);
  // While the first is on its way: no more memory for the same.
  const second = await web1.send(request, "zzz");
  await until(() => web1.outcomes.length === 2);
  expect([await web2.outcomes[0], await web1.outcomes[1]]).toEqual(["PROTOCOL", "PROTOCOL"]);
  second.end();
  await first.send(Buffer.from("def"));
  first.end();
  expect(Buffer.from((await answer)!).toString()).toBe("abcdef");
  expect(await web1.outcomes[0]).toBe("taken");
  web1.close();
  web2.close();
});

test("[AGENT-76] an agent sends on a few channels at a time, and one that breaks off keeps nobody waiting", async () => {
  const supplies = new Supplies(clock, random);
  const web1 = connected(supplies, "web1");
  const requests: string[] = [];
  const answers = Array.from({ length: 6 }, () => supplies.ask("web1", 3, (number) => requests.push(number) > 0, never));
  const channels: MuxChannel[] = [];
  for (const request of requests) channels.push(await web1.send(request, "a"));
  await until(() => web1.outcomes.length === 6);
  expect(await Promise.all(web1.outcomes.slice(4))).toEqual(["PROTOCOL", "PROTOCOL"]);
  channels[0]!.fail(new Error("gone"));
  expect(await answers[0]).toBeUndefined();
  await channels[1]!.send(Buffer.from("bc"));
  channels[1]!.end();
  expect(Buffer.from((await answers[1])!).toString()).toBe("abc");
  // There is room again.
  const request = requests[4]!;
  const again = await web1.send(request, "xyz");
  again.end();
  expect(Buffer.from((await answers[4])!).toString()).toBe("xyz");
  web1.close();
});
