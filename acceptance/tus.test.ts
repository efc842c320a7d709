/** tus-js-client against a hub that is killed in the middle. */
import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { Upload, type UploadOptions } from "tus-js-client";
import { PROGRAM, World, freePort } from "./harness.ts";
import type { SubprocessLike } from "./process.ts";

const TOKEN = "0123456789abcdef0123456789abcdef";
const WAIT_MS_MAX = 30_000;
const MIB = 1 << 20;
const BOOTSTRAP = `
spaces: [{name: demo}]
users: [{name: admin, password: change-me, roles: [admin]}]
tokens: [{user: admin, value: ${TOKEN}}]
`;
const authorization = `Bearer ${TOKEN}`;

class Lab implements AsyncDisposable {
  readonly world = new World();
  readonly url: string;
  readonly #port: number;
  hub!: SubprocessLike;

  private constructor(port: number) {
    this.#port = port;
    this.url = `http://127.0.0.1:${port}`;
  }

  static async open(): Promise<Lab> {
    const lab = new Lab(await freePort());
    await lab.begin();
    return lab;
  }

  async begin(): Promise<void> {
    const listen = ["--listen", `127.0.0.1:${this.#port}`, "--bootstrap", this.world.write("boot.yaml", BOOTSTRAP)];
    this.hub = this.world.start([PROGRAM, "hub", "--data", this.world.path("data"), "--json", ...listen]);
    await this.hub.line((text) => text.includes('"type":"listening"'), WAIT_MS_MAX);
  }

  async killAndBegin(): Promise<void> {
    this.hub.kill("SIGKILL");
    await this.hub.exited;
    await this.begin();
  }

  async content(path: string): Promise<Buffer> {
    const response = await fetch(`${this.url}/v1/spaces/demo/content/${path}`, { headers: { authorization } });
    return Buffer.from(await response.arrayBuffer());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.world[Symbol.asyncDispose]();
  }
}

type Started = { readonly upload: Upload; readonly done: Promise<void>; readonly offset: () => number };

function start(lab: Lab, file: ConstructorParameters<typeof Upload>[0], options: Partial<UploadOptions>): Started {
  const done = Promise.withResolvers<void>();
  let offset = 0;
  const upload = new Upload(file, {
    endpoint: `${lab.url}/v1/tus/demo`,
    headers: { authorization },
    retryDelays: [100, 500, 1000, 2000, 4000, 8000],
    onChunkComplete: (_size, accepted) => void (offset = accepted),
    onProgress: (sent) => void (offset = Math.max(offset, sent)),
    onSuccess: () => done.resolve(),
    onError: (error) => done.reject(error),
    ...options,
  });
  upload.start();
  return { upload, done: done.promise, offset: () => offset };
}

async function reach({ offset }: Started, bytes: number): Promise<void> {
  while (offset() < bytes) await Bun.sleep(5);
}

describe("tus-js-client", () => {
  test("[TUS-9] goes on after the hub was killed, in chunks and in one request, and the file is whole", async () => {
    await using lab = await Lab.open();
    for (const [name, chunkSize] of [["chunks.bin", 4 * MIB], ["stream.bin", Number.POSITIVE_INFINITY]] as const) {
      const bytes = randomBytes(64 * MIB + 12_345);
      const file = lab.world.write(name, bytes);
      const started = start(lab, createReadStream(file), {
        chunkSize, uploadSize: bytes.length, metadata: { filename: name, filetype: "application/x-random" },
      });
      await reach(started, 20 * MIB);
      await lab.killAndBegin();
      await started.done;
      expect(Buffer.compare(await lab.content(name), bytes)).toBe(0);
    }
  }, 120_000);

  test("[TUS-10] sends parts side by side, and gives up what it no longer wants", async () => {
    await using lab = await Lab.open();
    const bytes = randomBytes(16 * MIB + 1);
    const side = start(lab, bytes as unknown as Blob, { parallelUploads: 3, metadata: { filename: "parallel.bin" } });
    await side.done;
    expect(Buffer.compare(await lab.content("parallel.bin"), bytes)).toBe(0);
    const given = start(lab, bytes as unknown as Blob, { chunkSize: MIB, metadata: { filename: "given-up.bin" } });
    await reach(given, 2 * MIB);
    await given.upload.abort(true);
    const gone = await fetch(given.upload.url!, { method: "HEAD", headers: { authorization, "tus-resumable": "1.0.0" } });
    expect(gone.status).toBe(404);
  }, 120_000);
});
