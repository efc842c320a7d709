/** The gRPC door with a client in another language, which learns all of the services from reflection. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { PROGRAM, ROOT, World, freePort } from "./harness.ts";

const TOKEN = "0123456789abcdef0123456789abcdef";
const START_MS_MAX = 30_000;
/** Of the system: the packages of Debian are made for it, and for no other one that may come first in PATH. */
const PYTHON = "/usr/bin/python3";

async function expectWell(how: "auto" | "always"): Promise<void> {
  await using world = new World();
  const bootstrap = world.write(
    "hub.yaml",
    `spaces: [{name: docs}, {name: site}]\nusers: [{name: ann, roles: [admin]}]\ntokens: [{user: ann, value: ${TOKEN}}]\n`,
  );
  const port = await freePort();
  const data = world.path("hub");
  const hub = world.start([
    PROGRAM, "hub", "--data", data, "--listen", "127.0.0.1:0", "--sync-listen", "127.0.0.1:0", "--bootstrap", bootstrap,
    "--grpc-listen", `127.0.0.1:${port}`, "--tls", how, "--json",
  ]);
  await hub.line((text) => text.includes('"type":"listening"'), START_MS_MAX);
  const script = join(ROOT, "acceptance", "grpc-client.py");
  const [host, authority] = how === "always" ? ["localhost", join(data, "ca.pem")] : ["127.0.0.1", "-"];
  const done = await world.command([PYTHON, script, `${host}:${port}`, TOKEN, authority]);
  if (done.code !== 0) throw new Error(`${done.out}\n${done.err}\n${hub.output().slice(-2_000)}`);
  expect(done.out.trim()).toBe("all is well");
}

describe("gRPC with Python's grpcio", () => {
  test("[GRPC-50] files go in and out, with health, reflection, conditions, pages, a watch, and clients that die", () =>
    expectWell("auto"));

  test("[GRPC-51] the same over TLS, with the hub's certificate", () => expectWell("always"));
});
