import { describe, expect, test } from "bun:test";
import type { Identity } from "#platform/net/tls-socket.ts";
import { SimClock } from "#testing/sim-clock.ts";
import { watchCertificate } from "#cli/hub-certificate.ts";

const HOUR_MS = 3_600_000;
const identityOf = (number: number): Identity => ({ certificate: `certificate ${number}`, key: "key" });

class Lab {
  readonly clock = new SimClock();
  readonly closing = new AbortController();
  readonly said: string[] = [];
  /** What came to each listener, with the hour. */
  readonly used: string[] = [];
  /** What is the matter with "second", while there is something. */
  fault: string | undefined;
  number = 0;
  current = (): Identity => identityOf(this.number);

  start(): Promise<void> {
    const note = (message: string): void => void this.said.push(`${this.#hour}: ${message}`);
    const listener = (name: string, fault: () => string | undefined) => ({
      useIdentity: (identity: Identity): void => {
        const found = fault();
        if (found !== undefined) throw new Error(found);
        this.used.push(`${this.#hour}: ${name} has ${identity.certificate}`);
      },
    });
    const listeners = [listener("first", () => undefined), listener("second", () => this.fault), listener("third", () => undefined)];
    const log = { info: note, error: (message: string, facts: Record<string, unknown>): void => note(`${message}: ${facts["error"]}`) };
    return watchCertificate({ clock: this.clock, log, current: () => this.current(), used: identityOf(0), listeners }, this.closing.signal);
  }

  get #hour(): number {
    return Math.floor(this.clock.monotonicMs() / HOUR_MS);
  }

  /** Until so much time has passed. */
  pass(ms: number): void {
    this.clock.runFor(ms);
  }
}

describe("the hub's certificate", () => {
  test("[CERT-1] a new one is used by each listener, once; one that did not get its address back has it minutes later at most, and holds up no other", async () => {
    const lab = new Lab();
    const done = lab.start();
    lab.pass(25 * HOUR_MS);
    expect(lab.used).toEqual([]);
    lab.number = 1;
    lab.fault = "the port is taken";
    lab.pass(24 * HOUR_MS);
    expect(lab.used).toEqual(["48: first has certificate 1", "48: third has certificate 1"]);
    expect(new Set(lab.said)).toEqual(new Set(["48: certificate could not be taken into use: the port is taken"]));
    lab.fault = undefined;
    lab.pass(300_000);
    expect(lab.used.slice(2)).toEqual(["49: second has certificate 1"]);
    expect(lab.said.at(-1)).toBe("49: certificate renewed");
    lab.pass(100 * HOUR_MS);
    expect(lab.used).toHaveLength(3);
    lab.closing.abort();
    await done;
  });

  test("[CERT-2] one that cannot be made is told, and tried again the next day", async () => {
    const lab = new Lab();
    const done = lab.start();
    const { current } = lab;
    lab.current = () => {
      throw new Error("the disk is full");
    };
    lab.pass(25 * HOUR_MS);
    expect(lab.said).toEqual(["24: certificate could not be renewed: the disk is full"]);
    lab.current = current;
    lab.number = 1;
    lab.pass(24 * HOUR_MS);
    expect(lab.used).toHaveLength(3);
    lab.closing.abort();
    await done;
  });
});
