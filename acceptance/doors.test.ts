/** One hub with all of its doors open, and an agent: what is done through one of them is there through all others. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { randomBytes, randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import {
  type DoorClient, PASSWORD, apiClient, archiveClient, commandClient, davClient, diskClient, ftpClient, grpcClient, hashOf, inParallel,
  partsClient, s3Clients, sftpClient, shareClient, tusClient,
} from "./door-clients.ts";
import { Fleet } from "./fleet.ts";
import { freePort } from "./harness.ts";

/** Around what doors keep in memory, what they split, and what they send at once. */
const LARGE = 20 << 20;
const SIZES = [0, 1, 300 << 10, LARGE];
const ODD = `odd žluť中\u{1f600} %20+&=#;:@!$,~^'"\`{}()`;

/** How long everybody writes the same few paths, and how often the hub is killed meanwhile. */
const RUSH_MS = 15_000;
const KILLS = 2;
const RUSH_PATHS = 8;
const RUSH_BYTES_MAX = 600 << 10;

let fleet: Fleet;
/** Words of the hub's start: its doors keep their ports. */
let listeners: string[];
let doors: DoorClient[];
let closeGrpc: () => void;
/** Of each file that was written, by its path. */
const hashes = new Map<string, string>();

const directoryOf = ({ name }: DoorClient): string => `by ${name}`;
const pathOf = (door: DoorClient, size: number): string => `${directoryOf(door)}/${ODD} ${size}.bin`;
/** They tell of all of the space at once, and are asked once, at the end. */
const isArchive = ({ name }: DoorClient): boolean => name === "zip" || name === "tar";
const readers = (): DoorClient[] => doors.filter((door) => door.read !== undefined && !isArchive(door));
const writers = (): DoorClient[] => doors.filter(({ write }) => write !== undefined);
const onDisk = (paths: readonly string[]): Promise<(string | undefined)[]> => doors.find(({ name }) => name === "an agent's disk")!.read!(paths);
const inSpace = (paths: readonly string[]): Promise<(string | undefined)[]> => doors[0]!.read!(paths);

type Acknowledged = { readonly by: string; readonly path: string; readonly hash: string };
type Wanted = ReadonlyMap<string, string | undefined>;

/** Between the hub and its agent changes travel. */
async function reach(wanted: Wanted): Promise<void> {
  const reached = (read: NonNullable<DoorClient["read"]>) => async (): Promise<boolean> =>
    (await read([...wanted.keys()])).every((hash, at) => hash === [...wanted.values()][at]);
  await fleet.until("the agent's disk has it", reached(onDisk));
  await fleet.until("the space has it", reached(inSpace));
}

async function expectThrough({ name, read }: DoorClient, wanted: Wanted): Promise<void> {
  const paths = [...wanted.keys()];
  const found = await read!(paths);
  const told = (hashesOf: readonly (string | undefined)[]) => paths.map((path, at) => `${name}: ${path}: ${hashesOf[at] ?? "nothing"}`);
  expect(told(found)).toEqual(told([...wanted.values()]));
}

/** All small files, and large ones of a few: those of the door itself, of the next, and of one that stores in parts. */
function wantedOf(reader: DoorClient): Wanted {
  const all = writers();
  const near = all.indexOf(reader) + 1;
  const of = new Set([reader, all[near % all.length]!, all[(near + 1) % all.length]!, ...all.filter(({ name }) => name === "parts of S3")]);
  const large = new Set([...of].map((door) => pathOf(door, LARGE)));
  return new Map([...hashes].filter(([path]) => !path.endsWith(`${LARGE}.bin`) || large.has(path)));
}

beforeAll(async () => {
  fleet = await Fleet.start();
  const { world } = fleet;
  await world.command(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", world.path("key")]);
  await fleet.json("/v1/users/ann/ssh-keys", "POST", { key: readFileSync(world.path("key.pub"), "utf8").trim() });
  await fleet.json("/v1/users/ann", "PATCH", { password: PASSWORD });
  const key = await fleet.json<{ accessKey: string; secretKey: string }>("/v1/users/ann/s3-keys", "POST", {});
  await fleet.kill("hub");
  listeners = [];
  for (const name of ["ftp", "ftps", "s3", "sftp", "grpc"]) listeners.push(`--${name}-listen`, `127.0.0.1:${await freePort()}`);
  await fleet.startHub(...listeners);
  const line = fleet.said("hub").split("\n").findLast((text) => text.includes('"type":"listening"'))!;
  const urls = (JSON.parse(line) as { doors: string[] }).doors;
  const urlOf = (scheme: string): string => urls.find((url) => url.startsWith(`${scheme}://`))!;
  fleet.startAgent("web1");
  await fleet.healthy("web1");
  const grpc = grpcClient(new URL(urlOf("grpc").replace("grpc:", "http:")).host);
  closeGrpc = () => grpc.close();
  doors = [
    apiClient(fleet), partsClient(fleet), commandClient(fleet), tusClient(fleet), await shareClient(fleet),
    ...s3Clients(urlOf("http"), { accessKeyId: key.accessKey, secretAccessKey: key.secretKey }),
    davClient(fleet), ftpClient(fleet, "FTP", urlOf("ftp")), ftpClient(fleet, "FTPS", urlOf("ftps")),
    sftpClient(fleet, Number(new URL(urlOf("sftp").replace("sftp:", "http:")).port)), grpc, diskClient(fleet, "web1"),
    archiveClient(fleet, "zip"), archiveClient(fleet, "tar"),
  ];
});
afterAll(async () => {
  closeGrpc();
  await fleet[Symbol.asyncDispose]();
});

describe("all doors of one hub", () => {
  test("[DOORS-1] a file written through any of them is the same bytes through all others and on an agent's disk", async () => {
    const large = randomBytes(LARGE);
    await inParallel(writers(), async (door) => {
      for (const size of SIZES) {
        const bytes = Buffer.from(large.subarray(0, size));
        // Each file is one of its own: nobody gets another's and passes.
        Buffer.from(directoryOf(door)).copy(bytes);
        await door.write!(pathOf(door, size), bytes);
        hashes.set(pathOf(door, size), hashOf(bytes));
      }
    });
    expect(hashes.size).toBe(writers().length * SIZES.length);
    await reach(hashes);
    await inParallel(readers(), (door) => expectThrough(door, wantedOf(door)));
  }, 120_000);

  test("[DOORS-2] what is removed or renamed through any of them is gone, or has the new name, through all others", async () => {
    const wanted = new Map<string, string | undefined>();
    await inParallel(doors, async (door) => {
      const [small, middle, large] = [pathOf(door, 1), pathOf(door, 300 << 10), pathOf(door, LARGE)];
      const renamed = `${directoryOf(door)}/now ${ODD}`;
      for (const path of [small, large]) await door.remove?.(path);
      await door.rename?.(middle, renamed);
      if (door.remove !== undefined) wanted.set(small, undefined).set(large, undefined);
      if (door.rename !== undefined) wanted.set(middle, undefined).set(renamed, hashes.get(middle));
    });
    await reach(wanted);
    await inParallel(readers(), (door) => expectThrough(door, wanted));
    await inParallel(doors.filter(isArchive), (door) => expectThrough(door, new Map([...hashes, ...wanted])));
  }, 60_000);

  test("[DOORS-3] of many who write the same paths through all of them, over ends of the hub, nobody loses what was acknowledged, and all see the same", async () => {
    const acknowledged: Acknowledged[] = [];
    const end = Date.now() + RUSH_MS;
    const anyPath = (): string => `rush/${randomInt(RUSH_PATHS)}.bin`;
    const rush = async (door: DoorClient): Promise<void> => {
      while (Date.now() < end) {
        const [path, dice] = [anyPath(), randomInt(10)];
        const bytes = randomBytes(randomInt(2) * randomInt(RUSH_BYTES_MAX) + randomInt(100));
        try {
          if (dice === 0) await door.remove?.(path);
          else if (dice === 1) await door.rename?.(path, anyPath());
          else if (door.write !== undefined) {
            await door.write(path, bytes);
            // What is written to a disk is acknowledged by nobody.
            if (door.name !== "an agent's disk") acknowledged.push({ by: door.name, path, hash: hashOf(bytes) });
          }
        } catch {
          // The path has gone, or is another's now, or the hub has: nothing was promised. No door turns without end.
          await Bun.sleep(20);
        }
      }
    };
    const killing = async (): Promise<void> => {
      for (let kill = 0; kill < KILLS; kill++) {
        await Bun.sleep(RUSH_MS / (KILLS + 1));
        await fleet.kill("hub");
        await fleet.startHub(...listeners);
      }
    };
    await Promise.all([...writers().map(rush), killing()]);
    await fleet.healthy("web1");
    await fleet.until("the agent has it all", async () => {
      await fleet.expectSame("site", "web1");
      return true;
    });

    const kept = await historyOf("rush/");
    const by = new Set(acknowledged.map((one) => one.by));
    expect(by.size).toBe(writers().length - 1);
    // A share that finds somebody's file at the path gives its own another name.
    const isKept = ({ by, path, hash }: Acknowledged): boolean =>
      kept.get(hash)?.some((at) => at === path || by === "a share") === true;
    expect(acknowledged.filter((one) => !isKept(one))).toEqual([]);
    const paths = Array.from({ length: RUSH_PATHS }, (_, at) => `rush/${at}.bin`);
    const now = await inSpace(paths);
    await inParallel(readers(), (door) => expectThrough(door, new Map(paths.map((path, at) => [path, now[at]]))));
  }, 120_000);
});

/** The hash of all that ever was at a path with this beginning, with the paths. */
async function historyOf(prefix: string): Promise<Map<string, string[]>> {
  const lines = (await (await fleet.fetch("/v1/spaces/site/journal.ndjson?after=0")).text()).trimEnd().split("\n");
  const records = lines.map((line) => JSON.parse(line) as { path: string; sequence: number; kind: string });
  const files = records.filter(({ path, kind }) => path.startsWith(prefix) && kind === "file");
  const kept = new Map<string, string[]>();
  await inParallel(files, async ({ path, sequence }) => {
    const url = `/v1/spaces/site/content/${path.split("/").map(encodeURIComponent).join("/")}?at=${sequence}`;
    const response = await fleet.fetch(url);
    if (!response.ok) throw new Error(`${url}: ${response.status} ${await response.text()}`);
    const hash = hashOf(await response.bytes());
    kept.set(hash, [...(kept.get(hash) ?? []), path]);
  });
  return kept;
}
