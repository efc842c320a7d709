import { expect, test } from "bun:test";
import { systemPrincipal } from "#access/access.ts";
import { signedIn } from "#gateway/renewing.ts";

test("[API-55] a credential is looked at again where somebody was changed since, also while it was looked at, and not for ever", async () => {
  const access = { generation: 0 };
  let looks = 0;
  let changesMeanwhile = 1;
  const authenticate = async () => {
    looks++;
    if (changesMeanwhile-- > 0) access.generation++;
    return systemPrincipal(`${looks}`);
  };
  const { who, renew } = await signedIn(access, authenticate);
  expect([who.name, looks]).toEqual(["1", 1]);
  expect([(await renew()).name, (await renew()).name]).toEqual(["2", "2"]);
  access.generation++;
  changesMeanwhile = 3;
  expect((await renew()).name).toBe("6");
  access.generation++;
  changesMeanwhile = Infinity;
  await expect(renew()).rejects.toMatchObject({ code: "LIMIT", retryable: true });
  changesMeanwhile = 0;
  expect((await renew()).name).toBe(`${looks}`);
});
