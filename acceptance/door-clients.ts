/** A client for each door of a hub, with one form: to write a file, to read many, to remove one, to rename one. */
import { Client as GrpcClient, Metadata, credentials } from "@grpc/grpc-js";
import {
  CompleteMultipartUploadCommand, CreateMultipartUploadCommand, DeleteObjectCommand, GetObjectCommand, PutObjectCommand, S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FILES, serviceOf } from "#gateway/grpc/schema.ts";
import { type Fleet, TOKEN } from "./fleet.ts";
import type { Done } from "./harness.ts";

export const PASSWORD = "ann's own password";
const MIB = 1 << 20;
const PART_BYTES = 8 * MIB;
/** Parts of S3 that are not the last have no less. */
const S3_PART_BYTES = 5 * MIB;
const GRPC_PIECE_BYTES = 256 << 10;
/** Processes or requests of one client at a time. */
const PARALLEL = 4;

/** Paths are inside of the space "site". */
export type DoorClient = {
  readonly name: string;
  /** Directories that are lacking are made. */
  readonly write?: (path: string, bytes: Buffer) => Promise<void>;
  /** SHA-256 of each file, in hex; undefined where the door says that nothing is there. */
  readonly read?: (paths: readonly string[]) => Promise<(string | undefined)[]>;
  readonly remove?: (path: string) => Promise<void>;
  readonly rename?: (from: string, to: string) => Promise<void>;
};

export const hashOf = (bytes: Uint8Array): string => new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
const encoded = (path: string): string => path.split("/").map((name) => encodeURIComponent(name).replaceAll("'", "%27")).join("/");
const parentOf = (path: string): string => path.slice(0, path.lastIndexOf("/"));

export async function inParallel<T, R>(all: readonly T[], work: (one: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let at = next++; at < all.length; at = next++) results[at] = await work(all[at]!);
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
  return results;
}

const each = (read: (path: string) => Promise<string | undefined>) => (paths: readonly string[]) => inParallel(paths, read);

async function expectOk(what: string, response: Response): Promise<Response> {
  if (!response.ok) throw new Error(`${what}: ${response.status} ${await response.text()}`);
  return response;
}

async function hashOrNothing(what: string, response: Response): Promise<string | undefined> {
  if (response.status !== 404) return hashOf(await (await expectOk(what, response)).bytes());
  await response.text();
  return undefined;
}

function expectDone(what: string, { code, out, err }: Done): void {
  if (code !== 0) throw new Error(`${what}: ${code}\n${out}\n${err}`);
}

// ---------------------------------------------------------------- over HTTP

export function apiClient(fleet: Fleet): DoorClient {
  const at = (path: string): string => `/v1/spaces/site/content/${encoded(path)}`;
  return {
    name: "API",
    write: async (path, body) => void (await expectOk(path, await fleet.fetch(at(path), { method: "PUT", body }))),
    read: each(async (path) => hashOrNothing(path, await fleet.fetch(at(path)))),
    remove: async (path) => void (await expectOk(path, await fleet.fetch(at(path), { method: "DELETE" }))),
    rename: (from, to) => fleet.json("/v1/spaces/site/move", "POST", { from, to }),
  };
}

export function partsClient(fleet: Fleet): DoorClient {
  return {
    name: "parts of the API",
    async write(path, bytes) {
      const { id } = await fleet.json<{ id: string }>("/v1/spaces/site/uploads", "POST", { path, size: bytes.length });
      for (let from = 0, number = 1; from < bytes.length; from += PART_BYTES, number++) {
        const body = bytes.subarray(from, from + PART_BYTES);
        await expectOk(path, await fleet.fetch(`/v1/spaces/site/uploads/${id}/parts/${number}`, { method: "PUT", body }));
      }
      await fleet.json(`/v1/spaces/site/uploads/${id}/complete`, "POST", {});
    },
  };
}

export function tusClient(fleet: Fleet): DoorClient {
  return {
    name: "tus",
    async write(path, body) {
      const headers = {
        "tus-resumable": "1.0.0",
        "upload-length": String(body.length),
        "upload-metadata": `relativePath ${Buffer.from(path).toString("base64")}`,
        "content-type": "application/offset+octet-stream",
      };
      await expectOk(path, await fleet.fetch("/v1/tus/site", { method: "POST", headers, body }));
    },
  };
}

export async function shareClient(fleet: Fleet): Promise<DoorClient> {
  const { url } = await fleet.json<{ url: string }>("/v1/spaces/site/shares", "POST", { kind: "both" });
  return {
    name: "a share",
    write: async (path, body) => void (await expectOk(path, await fetch(`${url}/${encoded(path)}`, { method: "PUT", body }))),
    read: each(async (path) => hashOrNothing(path, await fetch(`${url}/${encoded(path)}`))),
  };
}

export function davClient(fleet: Fleet): DoorClient {
  const headers = { authorization: `Basic ${btoa(`ann:${TOKEN}`)}` };
  const at = (path: string): string => `${fleet.url}/dav/site/${encoded(path)}`;
  return {
    name: "WebDAV",
    async write(path, body) {
      await fetch(at(parentOf(path)), { method: "MKCOL", headers });
      await expectOk(path, await fetch(at(path), { method: "PUT", headers, body }));
    },
    read: each(async (path) => hashOrNothing(path, await fetch(at(path), { headers }))),
    remove: async (path) => void (await expectOk(path, await fetch(at(path), { method: "DELETE", headers }))),
    async rename(from, to) {
      const destination = new URL(at(to)).pathname;
      await expectOk(from, await fetch(at(from), { method: "MOVE", headers: { ...headers, destination } }));
    },
  };
}

/** Archives of the whole space, unpacked by other people's programs. */
export function archiveClient(fleet: Fleet, format: "zip" | "tar"): DoorClient {
  let count = 0;
  return {
    name: format,
    async read(paths) {
      const into = fleet.world.folder(`${format}-${++count}`);
      const response = await expectOk(format, await fleet.fetch(`/v1/spaces/site/archive?format=${format}`));
      const file = fleet.world.write(`${format}-${count}.file`, await response.bytes());
      const command = format === "zip" ? ["unzip", "-q", file, "-d", into] : ["tar", "-xf", file, "-C", into];
      expectDone(format, await fleet.world.command(command));
      const inside = existsSync(join(into, "site")) ? join(into, "site") : into;
      return paths.map((path) => hashOfFile(join(inside, path)));
    },
  };
}

export function s3Clients(endpoint: string, credentialsOfAnn: { accessKeyId: string; secretAccessKey: string }): DoorClient[] {
  const client = new S3Client({ endpoint, region: "local", credentials: credentialsOfAnn, forcePathStyle: true });
  const Bucket = "site";
  const single: DoorClient = {
    name: "S3",
    write: async (Key, Body) => void (await client.send(new PutObjectCommand({ Bucket, Key, Body }))),
    read: each(async (Key) => {
      try {
        const { Body } = await client.send(new GetObjectCommand({ Bucket, Key }));
        return hashOf(await Body!.transformToByteArray());
      } catch (error) {
        if ((error as Error).name === "NoSuchKey") return undefined;
        throw error;
      }
    }),
    remove: async (Key) => void (await client.send(new DeleteObjectCommand({ Bucket, Key }))),
  };
  const parts: DoorClient = {
    name: "parts of S3",
    async write(Key, bytes) {
      const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket, Key }));
      const Parts = [];
      for (let PartNumber = 1; PartNumber === 1 || (PartNumber - 1) * S3_PART_BYTES < bytes.length; PartNumber++) {
        const Body = bytes.subarray((PartNumber - 1) * S3_PART_BYTES, PartNumber * S3_PART_BYTES);
        const { ETag } = await client.send(new UploadPartCommand({ Bucket, Key, UploadId, PartNumber, Body }));
        Parts.push({ ETag, PartNumber });
      }
      await client.send(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts } }));
    },
  };
  return [single, parts];
}

// ---------------------------------------------------------------- by programs

const hashOfFile = (file: string): string | undefined => (existsSync(file) ? hashOf(readFileSync(file)) : undefined);

/** `syncline put`, `get`, `rm` and `mv`. */
export function commandClient(fleet: Fleet): DoorClient {
  const run = (...words: string[]) => fleet.world.run([...words, "--hub", fleet.url, "--token-file", "token", "--quiet"]);
  let count = 0;
  return {
    name: "the command",
    async write(path, bytes) {
      const file = fleet.world.write(`put-${++count}`, bytes);
      expectDone("put", await run("put", file, `site:${path}`));
    },
    read: each(async (path) => {
      const file = fleet.world.path(`got-${++count}`);
      const done = await run("get", `site:${path}`, file);
      if (!done.err.includes("there is nothing at")) expectDone("get", done);
      return hashOfFile(file);
    }),
    remove: async (path) => expectDone("rm", await run("rm", `site:${path}`)),
    rename: async (from, to) => expectDone("mv", await run("mv", `site:${from}`, to)),
  };
}

/** curl; it is told of all files at once, and goes on behind one that is not there. */
export function ftpClient(fleet: Fleet, name: "FTP" | "FTPS", url: string): DoorClient {
  const curl = (...words: string[]) => fleet.world.command(["curl", "-sS", "-k", "--user", `ann:${PASSWORD}`, ...words]);
  const at = (path: string): string => `${url}/site/${encoded(path)}`;
  let count = 0;
  return {
    name,
    async write(path, bytes) {
      const file = fleet.world.write(`${name}-put-${++count}`, bytes);
      expectDone(name, await curl("--ftp-create-dirs", "-T", file, at(path)));
    },
    async read(paths) {
      const files = paths.map(() => fleet.world.path(`${name}-${++count}`));
      const done = await curl("--disable-epsv", ...paths.flatMap((path, index) => ["-o", files[index]!, at(path)]));
      // 9 and 78: there is no such directory, or no such file.
      if (![0, 9, 78].includes(done.code)) expectDone(name, done);
      return files.map(hashOfFile);
    },
    remove: async (path) => expectDone(name, await curl("-l", "-Q", `DELE /site/${path}`, `${url}/`)),
    rename: async (from, to) => expectDone(name, await curl("-l", "-Q", `RNFR /site/${from}`, "-Q", `RNTO /site/${to}`, `${url}/`)),
  };
}

/** OpenSSH's sftp; it is told of all files at once. */
export function sftpClient(fleet: Fleet, port: number): DoorClient {
  const given = ["StrictHostKeyChecking=no", "UserKnownHostsFile=known", "LogLevel=ERROR", "IdentitiesOnly=yes", "IdentityFile=key"];
  let count = 0;
  const run = (lines: readonly string[]) => {
    const batch = fleet.world.write(`batch-${++count}`, `${lines.join("\n")}\n`);
    const options = [...given.flatMap((one) => ["-o", one]), "-P", String(port)];
    return fleet.world.command(["sftp", "-b", batch, "-F", "none", ...options, "ann@127.0.0.1"]);
  };
  const quoted = (path: string): string => `"${path.replaceAll(/["\\]/g, "\\$&")}"`;
  const at = (path: string): string => quoted(`/site/${path}`);
  return {
    name: "SFTP",
    async write(path, bytes) {
      const file = fleet.world.write(`sftp-put-${++count}`, bytes);
      expectDone("sftp", await run([`-mkdir ${at(parentOf(path))}`, `put ${file} ${at(path)}`]));
    },
    async read(paths) {
      const files = paths.map(() => fleet.world.path(`sftp-${++count}`));
      expectDone("sftp", await run(paths.map((path, index) => `-get ${at(path)} ${files[index]}`)));
      return files.map(hashOfFile);
    },
    remove: async (path) => expectDone("sftp", await run([`rm ${at(path)}`])),
    rename: async (from, to) => expectDone("sftp", await run([`rename ${at(from)} ${at(to)}`])),
  };
}

/** The disk of an agent that follows the space. */
export function diskClient(fleet: Fleet, agent: string): DoorClient {
  const at = (path: string): string => join(fleet.root(agent), path);
  return {
    name: "an agent's disk",
    async write(path, bytes) {
      mkdirSync(at(parentOf(path)), { recursive: true });
      writeFileSync(at(path), bytes);
    },
    read: async (paths) => paths.map((path) => hashOfFile(at(path))),
    remove: async (path) => rmSync(at(path)),
    rename: async (from, to) => renameSync(at(from), at(to)),
  };
}

// ---------------------------------------------------------------- gRPC

export function grpcClient(host: string): DoorClient & { close(): void } {
  const client = new GrpcClient(host, credentials.createInsecure());
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${TOKEN}`);
  const service = serviceOf(FILES);
  type Method = { path: string; requestSerialize: (value: object) => Buffer; responseDeserialize: (bytes: Buffer) => object };
  const methodOf = (name: string): Method => service[name] as unknown as Method;
  const place = (path: string): object => ({ space: "site", path });
  const ask = (name: string, request: object): Promise<void> => {
    const { path, requestSerialize, responseDeserialize } = methodOf(name);
    return new Promise((resolve, reject) =>
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, metadata, (error) =>
        error ? reject(error) : resolve()));
  };
  return {
    name: "gRPC",
    close: () => client.close(),
    write(path, bytes) {
      const { path: method, requestSerialize, responseDeserialize } = methodOf("Upload");
      return new Promise((resolve, reject) => {
        const call = client.makeClientStreamRequest(method, requestSerialize, responseDeserialize, metadata, (error) =>
          error ? reject(error) : resolve());
        call.write({ header: { place: place(path), makeParents: true, size: String(bytes.length) } });
        for (let from = 0; from < bytes.length; from += GRPC_PIECE_BYTES) {
          call.write({ data: bytes.subarray(from, from + GRPC_PIECE_BYTES) });
        }
        call.end();
      });
    },
    read: each((path) => {
      const { path: method, requestSerialize, responseDeserialize } = methodOf("Download");
      return new Promise((resolve, reject) => {
        const hash = new Bun.CryptoHasher("sha256");
        const call = client.makeServerStreamRequest(method, requestSerialize, responseDeserialize, { place: place(path) }, metadata);
        call.on("data", ({ data }: { data?: Buffer }) => void (data !== undefined && hash.update(data)));
        call.on("error", (error: Error & { code: number }) => (error.code === 5 ? resolve(undefined) : reject(error)));
        call.on("end", () => resolve(hash.digest("hex")));
      });
    }),
    remove: (path) => ask("Remove", { place: place(path) }),
    rename: (from, to) => ask("Move", { from: place(from), toPath: to }),
  };
}
