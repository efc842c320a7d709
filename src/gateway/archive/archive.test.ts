import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { crc32, inflateRawSync } from "node:zlib";
import { randomBytes } from "node:crypto";
import { ApiLab, TOKENS } from "#gateway/api/api-fixture.ts";
import type { ArchiveItem } from "#gateway/archive/archive.ts";
import { deflatedSize, zipOf } from "#gateway/archive/zip.ts";
import { tarOf } from "#gateway/archive/tar.ts";

const PIECE = 8 * 0xffff;
type Found = { readonly name: string; readonly mode: number; readonly bytes: Buffer };

async function bytesOf(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const piece of pieces) all.push(piece);
  return Buffer.concat(all);
}

/** A reader of its own, by the directory at the end, that checks what the file says of itself twice. */
function readZip(zip: Buffer): Found[] {
  let end = zip.length - 22;
  expect(zip.readUInt32LE(end)).toBe(0x0605_4b50);
  let count = zip.readUInt16LE(end + 10);
  let at = zip.readUInt32LE(end + 16);
  if (count === 0xffff) {
    expect(zip.readUInt32LE(end - 20)).toBe(0x0706_4b50);
    end = Number(zip.readBigUInt64LE(end - 12));
    expect(zip.readUInt32LE(end)).toBe(0x0606_4b50);
    count = Number(zip.readBigUInt64LE(end + 32));
    at = Number(zip.readBigUInt64LE(end + 48));
  }
  const found: Found[] = [];
  for (let index = 0; index < count; index++) {
    expect(zip.readUInt32LE(at)).toBe(0x0201_4b50);
    const [method, crc, packed, plain] = [zip.readUInt16LE(at + 10), zip.readUInt32LE(at + 16), zip.readUInt32LE(at + 20), zip.readUInt32LE(at + 24)];
    const [nameLength, extraLength] = [zip.readUInt16LE(at + 28), zip.readUInt16LE(at + 30)];
    const local = zip.readUInt32LE(at + 42);
    expect(zip.readUInt32LE(local)).toBe(0x0403_4b50);
    const start = local + 30 + zip.readUInt16LE(local + 26) + zip.readUInt16LE(local + 28);
    const raw = zip.subarray(start, start + packed);
    const bytes = method === 8 ? inflateRawSync(raw) : raw;
    expect([bytes.length, crc32(bytes)]).toEqual([plain, crc]);
    if (method === 8) expect([zip.readUInt32LE(start + packed), zip.readUInt32LE(start + packed + 4)]).toEqual([0x0807_4b50, crc]);
    found.push({ name: zip.subarray(at + 46, at + 46 + nameLength).toString(), mode: zip.readUInt32LE(at + 38) >>> 16, bytes });
    at += 46 + nameLength + extraLength;
  }
  return found;
}

const item = (name: string, more: Partial<ArchiveItem> = {}): ArchiveItem =>
  ({ kind: "dir", name, mode: 0o755, mtimeNs: undefined, mtimeMs: undefined, pieceBytes: PIECE, ...more }) as ArchiveItem;
const listOf = (items: readonly ArchiveItem[]) => async function* (): AsyncGenerator<ArchiveItem> {
  yield* items;
};
const none = async function* (): AsyncGenerator<Uint8Array> {};

describe("archives", () => {
  let lab: ApiLab;
  const large = randomBytes(2 * PIECE + 70_000);
  beforeAll(async () => {
    lab = await ApiLab.open();
    for (const [path, text] of [["in/a.txt", "A"], ["in/d/empty", ""], ["in/d/%C5%BElu%C5%A5", "ü"], ["out/secret", "no"]] as const) await lab.put(path, text);
    await lab.ask("/v1/spaces/demo/content/in/large", { method: "PUT", body: large });
    const who = { id: "system:test", kind: "system", name: "test", roles: [], scopes: undefined } as const;
    const entry = { kind: "symlink", target: "../a.txt" } as const;
    const change = { type: "put", path: "in/d/link", expect: { kind: "any" }, entry, content: undefined, makeParents: true } as const;
    await lab.hub.spaces.commit(who, "demo", { changes: [change], intake: undefined, atomic: true, cause: "edit", traceId: "0".repeat(32) });
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  const fetched = async (path: string, token: string = TOKENS.admin): Promise<Buffer> => {
    const response = await lab.ask(`/v1/spaces/demo/archive${path}`, { token });
    expect(response.status).toBe(200);
    return Buffer.from(await response.arrayBuffer());
  };

  test("[ARCHIVE-1] a zip holds what is below a path in one directory, symlinks as such, the same bytes each time", async () => {
    const zip = await fetched("/in");
    const found = readZip(zip);
    expect(found.map(({ name }) => name)).toEqual(["in/", "in/a.txt", "in/d/", "in/d/empty", "in/d/link", "in/d/žluť", "in/large"]);
    const of = (name: string): Found => found.find((one) => one.name === name)!;
    expect(of("in/large").bytes.equals(large)).toBe(true);
    expect([of("in/d/empty").bytes.length, of("in/d/link").bytes.toString(), of("in/d/link").mode & 0o170_000]).toEqual([0, "../a.txt", 0o120_000]);
    expect([of("in/a.txt").mode, of("in/").mode]).toEqual([0o100_644, 0o040_755]);
    expect((await fetched("/in")).equals(zip)).toBe(true);
    expect(readZip(await fetched("/in/a.txt")).map(({ name }) => name)).toEqual(["a.txt"]);
    const head = await lab.ask("/v1/spaces/demo/archive/in", { method: "HEAD" });
    expect(head.headers.get("content-disposition")).toBe(`attachment; filename="in.zip"; filename*=UTF-8''in.zip`);
    expect((await lab.ask("/v1/spaces/demo/archive/none")).status).toBe(404);
    expect((await lab.ask("/v1/spaces/demo/archive/in?format=rar")).status).toBe(400);
  });

  test("[ARCHIVE-2] whoever may read a part gets that part", async () => {
    const names = readZip(await fetched("/in", TOKENS.reader)).map(({ name }) => name);
    expect(names).toHaveLength(7);
    expect((await lab.ask("/v1/spaces/demo/archive", { token: TOKENS.reader })).status).toBe(403);
    expect((await lab.ask("/v1/spaces/demo/archive/out", { token: TOKENS.reader })).status).toBe(403);
    expect(readZip(await fetched("")).map(({ name }) => name)).toContain("demo/out/secret");
  });

  test("[ARCHIVE-3] it is of one point: what changes while it is sent is not in it", async () => {
    const response = await lab.ask("/v1/spaces/demo/archive");
    await lab.put("in/zz-later", "later");
    await lab.put("in/large", "other");
    const found = readZip(Buffer.from(await response.arrayBuffer()));
    expect(found.map(({ name }) => name)).not.toContain("demo/in/zz-later");
    expect(found.find(({ name }) => name === "demo/in/large")!.bytes.equals(large)).toBe(true);
    await lab.ask("/v1/spaces/demo/content/in/large", { method: "PUT", body: large });
  });

  test("[ARCHIVE-4] nothing more is read for a client that has gone", async () => {
    await lab.ask("/v1/spaces/other/content/huge", { method: "PUT", body: randomBytes(48 << 20) });
    const stop = new AbortController();
    const response = await lab.ask("/v1/spaces/other/archive", { signal: stop.signal });
    const reader = response.body!.getReader();
    await reader.read();
    const sent = async (): Promise<number> =>
      Number((await (await lab.ask("/metrics")).text()).match(/space_bytes_total\{space="other",direction="out"\} (\d+)/)![1]);
    stop.abort();
    await reader.read().catch(() => undefined);
    const active = async (): Promise<string> => (await (await lab.ask("/metrics")).text()).match(/streams_active\{kind="downloads"\} (\d+)/)![1]!;
    const deadline = performance.now() + 20_000;
    while ((await active()) !== "0" && performance.now() < deadline) await Bun.sleep(20);
    expect(await active()).toBe("0");
    expect(await sent()).toBeLessThan(40 << 20);
  });

  test("[ARCHIVE-5] names cannot lead out of the directory, whatever system unpacks them", async () => {
    const names = ["..\\..\\evil", "a\u0000b", "c\nd", "\udcff"];
    const zip = await bytesOf(zipOf(listOf(names.map((name) => item(name, { kind: "symlink", target: "t" } as Partial<ArchiveItem>))), none));
    expect(readZip(zip).map(({ name }) => name)).toEqual([".._.._evil", "a_b", "c_d", "\ufffd"]);
  });

  test("[ARCHIVE-6] more entries than a zip once could count are counted by zip64", async () => {
    const count = 70_000;
    const zip = await bytesOf(zipOf(listOf(Array.from({ length: count }, (_, at) => item(`d${at}`))), none));
    const found = readZip(zip);
    expect([found.length, found.at(-1)!.name]).toEqual([count, `d${count - 1}/`]);
    for (const size of [0, 1, 0xffff, 0x1_0000, PIECE, PIECE + 1]) {
      const content = Buffer.alloc(size, 7);
      const pieces = async function* (): AsyncGenerator<Uint8Array> {
        for (let at = 0; at < size; at += PIECE) yield content.subarray(at, at + PIECE);
      };
      const file = item("f", { kind: "file", size } as Partial<ArchiveItem>);
      const [read] = readZip(await bytesOf(zipOf(listOf([file]), pieces)));
      expect([size, read!.bytes.equals(content)]).toEqual([size, true]);
      expect(deflatedSize(size, PIECE)).toBe(size + 5 * Math.max(1, Math.ceil(size / 0xffff)));
    }
  });

  test("[ARCHIVE-7] tar keeps long names, names that are no text, far times and sizes in records of their own", async () => {
    const long = `${"l".repeat(200)}/${"m".repeat(200)}`;
    const items = [
      item(long, { kind: "file", size: 3, mtimeNs: 1_577_934_245_678_901_234n } as Partial<ArchiveItem>),
      item("raw\udcff", { kind: "symlink", target: "t\udcfe" } as Partial<ArchiveItem>),
      item("early", { kind: "file", size: 0, mtimeNs: -1_500_000_000n } as Partial<ArchiveItem>),
    ];
    const content = async function* ({ kind }: ArchiveItem): AsyncGenerator<Uint8Array> {
      if (kind === "file") yield Buffer.from("abc");
    };
    const tar = await bytesOf(tarOf(listOf(items), (one) => (one.kind === "file" && one.size === 3 ? content(one) : none())));
    expect([tar.length % 512, tar.subarray(-1024).every((byte) => byte === 0)]).toEqual([0, true]);
    const text = tar.toString("latin1");
    expect(text).toContain(` path=${long}\n`);
    expect(text).toContain(" mtime=1577934245.678901234\n");
    expect(text).toContain(" mtime=-1.5\n");
    expect(text).toContain("21 hdrcharset=BINARY\n");
    expect(text).toContain(" path=raw\xff\n");
    for (let at = 0; at < tar.length - 1024; ) {
      const block = tar.subarray(at, at + 512);
      const sum = block.reduce((total, byte, index) => total + (index >= 148 && index < 156 ? 32 : byte), 0);
      expect(Number.parseInt(block.subarray(148, 154).toString(), 8)).toBe(sum);
      at += 512 + Math.ceil(Number.parseInt(block.subarray(124, 135).toString(), 8) / 512) * 512;
    }
  });
});
