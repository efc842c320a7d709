import { afterAll, beforeAll, expect, test } from "bun:test";
import { SftpLab, type TestSftp } from "#gateway/sftp/sftp-fixture.ts";
import { STATUS } from "#platform/net/sftp-wire.ts";

let lab: SftpLab;
let admin: TestSftp;
beforeAll(async () => {
  lab = await SftpLab.open();
  admin = await lab.session("admin");
});
afterAll(() => lab[Symbol.asyncDispose]());

/** Once, before the next commit. */
function meanwhile(work: () => Promise<unknown>): void {
  const { spaces } = lab.api.hub;
  const commit = spaces.commit.bind(spaces);
  spaces.commit = async (...asked) => {
    spaces.commit = commit;
    await work();
    return commit(...asked);
  };
}

const remove = (path: string): Promise<Response> => lab.api.ask(`/v1/spaces/demo/content/${path}`, { method: "DELETE" });
const make = (path: string): Promise<Response> => lab.api.ask("/v1/spaces/demo/mkdir", { method: "POST", json: { path } });

test("[SFTP-63] what others change while it is removed goes all the same, and nothing of another kind that takes its place", async () => {
  await lab.api.put("busy", "one");
  meanwhile(() => lab.api.put("busy", "two"));
  expect(await admin.on("remove", "/demo/busy")).toBe(STATUS.ok);
  expect(await admin.get("/demo/busy")).toBe(STATUS.noSuchFile);
  await lab.api.put("busy", "one");
  meanwhile(async () => void (await remove("busy"), await make("busy")));
  expect(await admin.on("remove", "/demo/busy")).toBe(STATUS.failure);
  meanwhile(async () => void (await remove("busy"), await lab.api.put("busy", "precious")));
  expect(await admin.on("rmdir", "/demo/busy")).toBe(STATUS.failure);
  expect(await admin.get("/demo/busy")).toBe("precious");
});
