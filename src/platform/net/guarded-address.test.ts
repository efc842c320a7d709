import { expect, test } from "bun:test";
import { type Reach, guardedAddress } from "#platform/net/guarded-address.ts";

const never = new AbortController().signal;

async function faultOf(address: string, reach: Reach): Promise<string> {
  return guardedAddress(address, reach, never).then(() => "reached", (error: unknown) => (error as Error).message);
}

test("[GUARD-1] where an address may lead: what is public, over HTTPS; this host and its networks only when told so", async () => {
  const cases: [address: string, whereIs: Partial<Record<Reach, string>>][] = [
    ["https://93.184.216.34/", {}],
    ["http://93.184.216.34/", { public: "only https", private: "plain http" }],
    ["https://10.1.2.3:7830/", { public: "no public address" }],
    ["https://[fd00::1]/", { public: "no public address" }],
    ["https://127.0.0.1/", { public: "no public address" }],
    ["http://127.0.0.1:7830/", { public: "only https" }],
    ["http://[::1]:7830/", { public: "only https" }],
    ["http://localhost:7830/", { public: "only https" }],
    ["https://localhost/", { public: "no public address" }],
    ["http://10.1.2.3/", { public: "only https", private: "plain http" }],
    // IPv4 in disguise is what it stands for to nobody.
    ["http://[::ffff:127.0.0.1]/", { public: "only https", private: "plain http" }],
    ["ftp://127.0.0.1/", { public: "only https", private: "only https", any: "only https" }],
  ];
  for (const [address, faults] of cases) {
    for (const reach of ["public", "private", "any"] as const) {
      const fault = await faultOf(address, reach);
      const wanted = faults[reach] ?? "reached";
      expect([address, reach, fault.includes(wanted) ? wanted : fault]).toEqual([address, reach, wanted]);
    }
  }
});

test("[GUARD-2] the connection goes to the address that was looked at, under the name that was given", async () => {
  const found = await guardedAddress("https://localhost:7830/v1?x=1", "private", never);
  expect(found.href).toMatch(/^https:\/\/(127\.0\.0\.1|\[::1\]):7830\/v1\?x=1$/);
  expect(found).toMatchObject({ host: "localhost:7830", serverName: "localhost" });
});
