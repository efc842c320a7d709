import { describe, expect, test } from "bun:test";
import { z } from "zod";
import { readYaml } from "#platform/yaml/checked-yaml.ts";
import { AccessWorld, BY, codeOf } from "#access/access-fixture.ts";
import { ACCESS_DECLARATION, declareAccess } from "#access/declaration.ts";

const schema = z.strictObject(ACCESS_DECLARATION);
const FILE = `
groups: [{name: ops, roles: [operator]}]
users: [{name: admin, password: change-me, roles: [admin]}, {name: ann, groups: [ops]}]
tokens: [{user: admin, value: 0123456789abcdef0123456789abcdef}]
s3Keys: [{user: admin, accessKey: DEMOKEY, secretKey: demosecretdemosecretdemosecret12}]
sshKeys: [{user: admin, key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f admin"}]
joinTokens: [{value: fedcba9876543210fedcba9876543210, uses: 2, labels: [web]}]
`;
const declare = (world: AccessWorld, text: string): Promise<string[]> => declareAccess(world.access, BY, readYaml(text, "bootstrap.yaml", schema));

describe("what a file declares", () => {
  test("[ACCESS-90] is made once, told, and left alone when it is so already", async () => {
    await using world = await AccessWorld.open();
    const told = await declare(world, FILE);
    expect(told.map((line) => line.replace(/[0-9a-f]{16}|SHA256:\S+/, "…"))).toEqual([
      "group ops: made",
      "user admin: made",
      "user ann: made",
      'token "bootstrap" of admin: made',
      "S3 key DEMOKEY of admin: made",
      "SSH key … of admin: made",
      "join token …: made",
    ]);
    for (const secret of ["change-me", "0123456789abcdef0", "demosecret", "fedcba9876543210"]) expect(told.join()).not.toContain(secret);
    const { seq } = (await world.access.audit.page({}, undefined, 1))[0]!;
    expect(await declare(world, FILE)).toEqual([]);
    expect((await world.access.audit.page({}, undefined, 1))[0]!.seq).toBe(seq);
    expect((await world.signIn("admin", "change-me")).roles).toEqual(["admin"]);
    expect((await world.byToken("0123456789abcdef0123456789abcdef")).name).toBe("admin");
    expect((await world.access.users.get("ann"))!.groups).toEqual(["ops"]);
  });

  test("[ACCESS-91] a difference is put right and told; what is not named stays; what was used up stays so", async () => {
    await using world = await AccessWorld.open();
    await declare(world, FILE);
    await world.user("bob", "reader");
    await world.database.run("UPDATE access_join_tokens SET uses_left = 0");
    const changed = FILE.replace("change-me", "changed-it").replace("groups: [ops]", "roles: [reader]").replace("[operator]", "[writer, operator]")
      .replace("demosecretdemosecretdemosecret12", "demosecretdemosecretdemosecret13")
      .replace("value: 0123456789abcdef0123456789abcdef", 'value: 0123456789abcdef0123456789abcdef, expires: "2027-01-01T00:00:00Z"');
    expect(await declare(world, changed)).toEqual([
      "group ops: roles operator → writer, operator",
      "user admin: password changed",
      "user ann: roles, groups changed",
      'token "bootstrap" of admin: changed',
      "S3 key DEMOKEY of admin: changed",
    ]);
    expect(await declare(world, changed)).toEqual([]);
    expect(await codeOf(world.signIn("admin", "change-me"))).toBe("AUTH");
    await world.signIn("admin", "changed-it");
    expect((await world.access.users.get("bob"))!.roles).toEqual(["reader"]);
    expect((await world.access.joinTokens.page("", 10))[0]!.usesLeft).toBe(0);
    await world.access.users.update(BY, "admin", { isDisabled: true });
    expect(await declare(world, changed)).toEqual([]);
    expect((await world.access.users.get("admin"))!.isDisabled).toBe(true);
    expect(await codeOf(declare(world, "tokens: [{user: nobody, value: 0123456789abcdef0123456789abcdeX}]"))).toBe("NOT_FOUND");
    expect(await codeOf(declare(world, "tokens: [{user: admin, value: short}]"))).toBe("USAGE");
  });
});
