/** Every operation of every door, what it needs, and how it is asked for. */
import { OPEN } from "#platform/net/sftp-wire.ts";
import { type Need, type Operation, type Outcome, type Person, type Target, sftpOutcome, shows } from "#gateway/rights-fixture.ts";

type Needs = Operation["needs"];
type Run = Operation["run"];
type How = Pick<Operation, "makes" | "reads">;

const READS: How = { reads: true };
const MAKES: How = { makes: true };

const operation = (name: string, needs: Needs, run: Run, how: How = {}): Operation => ({ name, needs, run, ...how });

const of = (action: Need[0], what: keyof Target, tree?: "tree"): Needs => (target) => [[action, target[what], tree]];
const both = (...all: Needs[]): Needs => (target) => all.flatMap((one) => one(target));

const readFile = of("read", "file");
const writeFile = of("write", "file");
const writeFresh = of("write", "fresh");
const seeDir = both(of("reach", "dir"), of("read", "file"));

// ---------------------------------------------------------------- the API, tus, shares

const content = ({ space, file }: Target, path = file): string => `/v1/spaces/${space}/content/${path}`;
const space = ({ space: name }: Target): string => `/v1/spaces/${name}`;
const name = (path: string): string => path.slice(path.lastIndexOf("/") + 1);

/** The first that is not done ends it. */
async function steps(first: Promise<Outcome>, ...more: ((before: Outcome) => Promise<Outcome>)[]): Promise<Outcome> {
  let last = await first;
  for (const step of more) {
    if (last.kind !== "done") break;
    last = await step(last);
  }
  return last;
}

const jsonIn = ({ told }: Outcome): Record<string, string> => JSON.parse(told.slice(told.indexOf("{"))) as Record<string, string>;

const API: readonly Operation[] = [
  operation("list", seeDir, async (who, at) =>
    shows(await who.http("GET", `${space(at)}/entries?below=${at.dir}`), name(at.file)), READS),
  operation("list all", seeDir, async (who, at) =>
    shows(await who.http("GET", `${space(at)}/entries?limit=10000`), at.file), READS),
  operation("stat", readFile, (who, at) => who.http("GET", `${space(at)}/entries/${at.file}`), READS),
  operation("get", readFile, (who, at) => who.http("GET", content(at)), READS),
  operation("head", readFile, (who, at) => who.http("HEAD", content(at)), READS),
  operation("range", readFile, (who, at) =>
    who.http("GET", content(at), { headers: { range: "bytes=1-2" } }), READS),
  operation("get as it was", readFile, (who, at) => who.http("GET", `${content(at)}?at=999999`), READS),
  operation("condition", readFile, (who, at) =>
    who.http("GET", content(at), { headers: { "if-none-match": "*" } }), READS),
  operation("overwrite", writeFile, (who, at) => who.http("PUT", content(at), { body: "new" })),
  operation("put", writeFresh, (who, at) => who.http("PUT", content(at, at.fresh), { body: "new" })),
  operation("put if absent", writeFile, (who, at) =>
    who.http("PUT", `${content(at)}?sequence=0`, { body: "new" }), MAKES),
  operation("put if tagged", both(writeFile, readFile), (who, at) =>
    who.http("PUT", content(at), { body: "new", headers: { "if-match": "*" } })),
  operation("delete", writeFile, (who, at) => who.http("DELETE", content(at))),
  operation("rmdir", of("write", "tree", "tree"), (who, at) =>
    who.http("DELETE", `${content(at, at.tree)}?recursive=true`)),
  operation("mkdir", writeFile, (who, at) =>
    who.http("POST", `${space(at)}/mkdir`, { json: { path: at.file } }), MAKES),
  operation("move", both(readFile, writeFile, writeFresh), (who, at) =>
    who.http("POST", `${space(at)}/move`, { json: { from: at.file, to: at.fresh } })),
  operation("move a tree", both(of("read", "tree", "tree"), of("write", "tree", "tree"), writeFresh), (who, at) =>
    who.http("POST", `${space(at)}/move`, { json: { from: at.tree, to: at.fresh } })),
  operation("copy", both(readFile, writeFresh), (who, at) =>
    who.http("POST", `${space(at)}/copy`, { json: { from: at.file, to: at.fresh } })),
  operation("copy a tree", both(of("read", "tree", "tree"), writeFresh), (who, at) =>
    who.http("POST", `${space(at)}/copy`, { json: { from: at.tree, to: at.fresh } })),
  operation("history", readFile, async (who, at) =>
    shows(await who.http("GET", `${space(at)}/versions/${at.file}`), name(at.file)), READS),
  operation("journal", readFile, async (who, at) =>
    shows(await who.http("GET", `${space(at)}/journal.ndjson`), at.file), READS),
  operation("restore", both(of("restore", "tree", "tree"), of("write", "tree", "tree"), of("read", "tree", "tree")), (who, at) =>
    who.http("POST", `${space(at)}/restore`, { json: { path: at.tree, to: "1" } })),
  operation("archive", of("read", "tree", "tree"), (who, at) =>
    who.http("GET", `${space(at)}/archive/${at.tree}`), READS),
  operation("sign to read", readFile, (who, at) =>
    steps(who.http("POST", `${space(at)}/sign`, { json: { path: at.file } }), (signed) =>
      who.http("GET", new URL(jsonIn(signed)["url"]!).pathname + new URL(jsonIn(signed)["url"]!).search, { token: "" })), READS),
  operation("sign to write", writeFile, (who, at) =>
    steps(who.http("POST", `${space(at)}/sign`, { json: { path: at.file, method: "PUT" } }), (signed) =>
      who.http("PUT", new URL(jsonIn(signed)["url"]!).pathname + new URL(jsonIn(signed)["url"]!).search, { token: "", body: "new" }))),
  operation("share to read", of("read", "tree", "tree"), (who, at) =>
    steps(who.http("POST", `${space(at)}/shares`, { json: { path: at.tree } }), (made) =>
      who.http("GET", `${new URL(jsonIn(made)["url"]!).pathname}/top`, { token: "" })), READS),
  operation("share to upload", of("write", "tree", "tree"), (who, at) =>
    steps(who.http("POST", `${space(at)}/shares`, { json: { path: at.tree, kind: "upload" } }), (made) =>
      who.http("PUT", `${new URL(jsonIn(made)["url"]!).pathname}/new`, { token: "", body: "new" }))),
  operation("upload in parts", writeFile, (who, at) =>
    steps(
      who.http("POST", `${space(at)}/uploads`, { json: { path: at.file } }),
      async (made) => {
        const { id } = jsonIn(made);
        const part = await who.http("PUT", `${space(at)}/uploads/${id}/parts/1`, { body: "new" });
        return part.kind === "done" ? who.http("POST", `${space(at)}/uploads/${id}/complete`, { json: {} }) : part;
      },
    )),
  operation("settings", of("manage", "space"), (who, at) =>
    who.http("PATCH", space(at), { json: { settings: { quotaEntries: 1e6 } } }), READS),
  operation("restore point", () => [["restore", ""]], (who, at) =>
    who.http("POST", `${space(at)}/restore-points`, { json: { name: name(at.dir) + name(at.file) } }), READS),
];

const tus = { "tus-resumable": "1.0.0", "content-type": "application/offset+octet-stream" };
const named = (path: string): string => `relativePath ${Buffer.from(path).toString("base64")}`;

const TUS: readonly Operation[] = [
  operation("tus whole", writeFile, (who, at) =>
    who.http("POST", `/v1/tus/${at.space}`, { headers: { ...tus, "upload-length": "3", "upload-metadata": named(at.file) }, body: "new" })),
  operation("tus in two", writeFresh, async (who, at) => {
    const headers = { "tus-resumable": "1.0.0", "upload-length": "3", "upload-metadata": named(at.fresh) };
    const made = await who.http("POST", `/v1/tus/${at.space}`, { headers });
    const url = made.response.headers.get("location");
    if (url === null) return made;
    return who.http("PATCH", url, { headers: { ...tus, "upload-offset": "0" }, body: "new" });
  }),
];

// ---------------------------------------------------------------- WebDAV

const dav = (at: Target, path = at.file): string => `/dav/${at.space}/${path}`;
const LOCK = `<lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>`;
const PATCH = `<propertyupdate xmlns="DAV:"><set><prop><a xmlns="urn:x">1</a></prop></set></propertyupdate>`;

async function lockAndUnlock(who: Person, at: Target): Promise<Outcome> {
  const locked = await who.dav("LOCK", dav(at), { body: LOCK, headers: { timeout: "Second-60" } });
  const token = locked.response.headers.get("lock-token");
  return token === null ? locked : who.dav("UNLOCK", dav(at), { headers: { "lock-token": token } });
}

const DAV: readonly Operation[] = [
  operation("PROPFIND", readFile, (who, at) =>
    who.dav("PROPFIND", dav(at), { headers: { depth: "0" } }), READS),
  operation("PROPFIND 1", seeDir, async (who, at) =>
    shows(await who.dav("PROPFIND", dav(at, at.dir), { headers: { depth: "1" } }), name(at.file)), READS),
  operation("PROPPATCH", both(readFile, writeFile), (who, at) =>
    who.dav("PROPPATCH", dav(at), { body: PATCH })),
  operation("MKCOL", writeFile, (who, at) => who.dav("MKCOL", dav(at)), MAKES),
  operation("dav GET", readFile, (who, at) => who.dav("GET", dav(at)), READS),
  operation("dav range", readFile, (who, at) =>
    who.dav("GET", dav(at), { headers: { range: "bytes=1-2" } }), READS),
  operation("dav HEAD", readFile, (who, at) => who.dav("HEAD", dav(at)), READS),
  operation("dav PUT", writeFile, (who, at) => who.dav("PUT", dav(at), { body: "new" })),
  operation("dav PUT fresh", writeFresh, (who, at) => who.dav("PUT", dav(at, at.fresh), { body: "new" })),
  operation("dav DELETE", writeFile, (who, at) => who.dav("DELETE", dav(at))),
  operation("dav DELETE a tree", of("write", "tree", "tree"), (who, at) =>
    who.dav("DELETE", dav(at, at.tree))),
  operation("dav COPY", both(readFile, writeFresh, of("read", "fresh")), (who, at) =>
    who.dav("COPY", dav(at), { headers: { destination: dav(at, at.fresh) } })),
  operation("dav COPY a tree", both(of("read", "tree", "tree"), writeFresh, of("read", "fresh")), (who, at) =>
    who.dav("COPY", dav(at, at.tree), { headers: { destination: dav(at, at.fresh) } })),
  operation("dav MOVE", both(readFile, writeFile, writeFresh, of("read", "fresh")), (who, at) =>
    who.dav("MOVE", dav(at), { headers: { destination: dav(at, at.fresh) } })),
  operation("dav MOVE a tree", both(of("read", "tree", "tree"), of("write", "tree", "tree"), writeFresh), (who, at) =>
    who.dav("MOVE", dav(at, at.tree), { headers: { destination: dav(at, at.fresh) } })),
  operation("LOCK", writeFile, lockAndUnlock, READS),
];

// ---------------------------------------------------------------- S3

const key = (at: Target, path = at.file): string => `/${at.space}/${path}`;
const TAGS = "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>";
const sourceOf = (at: Target): Record<string, string> => ({ "x-amz-copy-source": key(at) });
const textIn = ({ told }: Outcome, element: string): string => new RegExp(`<${element}>(.*?)</${element}>`).exec(told)?.[1] ?? "";

const inParts = (who: Person, at: Target, part: (url: string) => Promise<Outcome>): Promise<Outcome> =>
  steps(who.s3("POST", `${key(at, at.fresh)}?uploads`), async (made) => {
    const url = `${key(at, at.fresh)}?uploadId=${textIn(made, "UploadId")}`;
    const sent = await part(url);
    if (sent.kind !== "done") {
      await who.s3("DELETE", url);
      return sent;
    }
    const listed = await who.s3("GET", url);
    const tag = textIn(listed, "ETag");
    const body = `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${tag}</ETag></Part></CompleteMultipartUpload>`;
    return who.s3("POST", url, { body });
  });

/** Deleting looks at what is there first: a key without a "/" behind it is no directory, and is never deleted as one. */
const S3: readonly Operation[] = [
  operation("ListObjectsV2", readFile, async (who, at) =>
    shows(await who.s3("GET", `/${at.space}?list-type=2&prefix=${at.dir}/`), at.file), READS),
  operation("ListObjects", readFile, async (who, at) =>
    shows(await who.s3("GET", `/${at.space}?prefix=${at.file}`), `${at.file}</Key>`), READS),
  operation("ListObjectVersions", readFile, async (who, at) =>
    shows(await who.s3("GET", `/${at.space}?versions&prefix=${at.file}`), `${at.file}</Key>`), READS),
  operation("HeadBucket", () => [["reach", ""]], async (who, at) => who.s3("HEAD", `/${at.space}`), READS),
  operation("PutBucketTagging", of("manage", "space"), (who, at) =>
    who.s3("PUT", `/${at.space}?tagging`, { body: TAGS }), READS),
  operation("GetObject", readFile, (who, at) => who.s3("GET", key(at)), READS),
  operation("GetObject range", readFile, (who, at) =>
    who.s3("GET", key(at), { headers: { range: "bytes=1-2" } }), READS),
  operation("HeadObject", readFile, (who, at) => who.s3("HEAD", key(at)), READS),
  operation("GetObjectAcl", readFile, (who, at) => who.s3("GET", `${key(at)}?acl`), READS),
  operation("PutObjectAcl", both(readFile, writeFile), (who, at) =>
    who.s3("PUT", `${key(at)}?acl`, { headers: { "x-amz-acl": "private" } }), READS),
  operation("GetObjectTagging", readFile, (who, at) => who.s3("GET", `${key(at)}?tagging`), READS),
  operation("PutObjectTagging", both(readFile, writeFile), (who, at) =>
    who.s3("PUT", `${key(at)}?tagging`, { body: TAGS })),
  operation("GetObjectAttributes", readFile, (who, at) =>
    who.s3("GET", `${key(at)}?attributes`, { headers: { "x-amz-object-attributes": "ETag,ObjectSize" } }), READS),
  operation("PutObject", writeFile, (who, at) => who.s3("PUT", key(at), { body: "new" })),
  operation("PutObject fresh", writeFresh, (who, at) => who.s3("PUT", key(at, at.fresh), { body: "new" })),
  operation("DeleteObject", both(readFile, writeFile), (who, at) => who.s3("DELETE", key(at))),
  operation("DeleteObjects", both(readFile, writeFile), async (who, at) => {
    const done = await who.s3("POST", `/${at.space}?delete`, { body: `<Delete><Object><Key>${at.file}</Key></Object></Delete>` });
    return shows(done, "<Deleted>");
  }),
  operation("CopyObject", both(readFile, writeFresh), (who, at) =>
    who.s3("PUT", key(at, at.fresh), { headers: sourceOf(at) })),
  operation("an upload in parts", writeFresh, (who, at) =>
    inParts(who, at, (url) => who.s3("PUT", `${url}&partNumber=1`, { body: "new" }))),
  operation("UploadPartCopy", both(readFile, writeFresh), (who, at) =>
    inParts(who, at, (url) => who.s3("PUT", `${url}&partNumber=1`, { headers: sourceOf(at) }))),
  operation("presigned GET", readFile, async (who, at) => {
    const target = who.lab.s3.presigned(key(at), { as: who.accessKey, secret: who.secret });
    const response = await who.lab.s3.send(target, "GET", { host: who.lab.s3.host });
    return { kind: response.status === 200 ? "done" : response.status < 500 ? "refused" : "other", told: await response.text() };
  }, READS),
];

// ---------------------------------------------------------------- FTP

const ftp = (at: Target, path = at.file): string => `/${at.space}/${path}`;

const FTP: readonly Operation[] = [
  operation("LIST", seeDir, async (who, at) =>
    shows(await who.ftpGets(`LIST ${ftp(at, at.dir)}`), name(at.file)), READS),
  operation("NLST", seeDir, async (who, at) =>
    shows(await who.ftpGets(`NLST ${ftp(at, at.dir)}`), name(at.file)), READS),
  operation("MLSD", seeDir, async (who, at) =>
    shows(await who.ftpGets(`MLSD ${ftp(at, at.dir)}`), name(at.file)), READS),
  operation("MLST", readFile, (who, at) => who.ftpSays(`MLST ${ftp(at)}`), READS),
  operation("STAT", readFile, async (who, at) =>
    shows(await who.ftpSays(`STAT ${ftp(at)}`), name(at.file)), READS),
  operation("CWD", of("reach", "tree"), (who, at) => who.ftpSays(`CWD ${ftp(at, at.tree)}`), READS),
  operation("SIZE", readFile, (who, at) => who.ftpSays(`SIZE ${ftp(at)}`), READS),
  operation("MDTM", readFile, (who, at) => who.ftpSays(`MDTM ${ftp(at)}`), READS),
  operation("HASH", readFile, (who, at) => who.ftpSays(`XSHA256 ${ftp(at)}`), READS),
  operation("RETR", readFile, (who, at) => who.ftpGets(`RETR ${ftp(at)}`), READS),
  operation("REST and RETR", readFile, (who, at) => who.ftpGets(`RETR ${ftp(at)}`, 2), READS),
  operation("STOR over", writeFile, (who, at) => who.ftpSends(`STOR ${ftp(at)}`)),
  operation("STOR", writeFresh, (who, at) => who.ftpSends(`STOR ${ftp(at, at.fresh)}`)),
  operation("APPE", both(readFile, writeFile), (who, at) => who.ftpSends(`APPE ${ftp(at)}`)),
  operation("MKD", writeFile, (who, at) => who.ftpSays(`MKD ${ftp(at)}`), MAKES),
  operation("RMD", both(of("read", "hollow"), of("write", "hollow")), (who, at) =>
    who.ftpSays(`RMD ${ftp(at, at.hollow)}`)),
  operation("DELE", both(readFile, writeFile), (who, at) => who.ftpSays(`DELE ${ftp(at)}`)),
  operation("RNFR and RNTO", both(readFile, writeFile, writeFresh), (who, at) =>
    who.ftpSays(`RNFR ${ftp(at)}`, `RNTO ${ftp(at, at.fresh)}`)),
  operation("RNTO of a tree", both(of("read", "tree", "tree"), of("write", "tree", "tree"), writeFresh), (who, at) =>
    who.ftpSays(`RNFR ${ftp(at, at.tree)}`, `RNTO ${ftp(at, at.fresh)}`)),
  operation("MFMT", both(readFile, writeFile), (who, at) => who.ftpSays(`MFMT 20200102030405 ${ftp(at)}`)),
  operation("SITE CHMOD", both(readFile, writeFile), (who, at) => who.ftpSays(`SITE CHMOD 600 ${ftp(at)}`)),
  operation("SITE COPY", both(readFile, writeFresh), (who, at) =>
    who.ftpSays(`SITE COPY ${ftp(at)} ${ftp(at, at.fresh)}`)),
  operation("SITE CPFR", both(readFile, writeFresh), (who, at) =>
    who.ftpSays(`SITE CPFR ${ftp(at)}`, `SITE CPTO ${ftp(at, at.fresh)}`)),
];

// ---------------------------------------------------------------- SFTP

type Sftp = Awaited<ReturnType<Person["sftp"]>>;
const SIZE_FLAG = 4;

const viaSftp = (work: (sftp: Sftp, at: Target) => Promise<number>): Run => async (who, at) =>
  sftpOutcome(await work(await who.sftp(), at));

const text = (told: string | number): Outcome => (typeof told === "string" ? sftpOutcome(0, told) : sftpOutcome(told));

async function append(sftp: Sftp, path: string): Promise<number> {
  const handle = await sftp.open(path, OPEN.write | OPEN.append);
  if (typeof handle === "number") return handle;
  const status = await sftp.write(handle, 0, "more");
  return (await sftp.close(handle)) || status;
}

const SFTP: readonly Operation[] = [
  operation("sftp readdir", seeDir, async (who, at) => {
    const names = await (await who.sftp()).names(ftp(at, at.dir));
    return typeof names === "number" ? sftpOutcome(names) : shows(sftpOutcome(0, names.join("\n")), name(at.file));
  }, READS),
  operation("sftp stat", readFile, viaSftp((sftp, at) => sftp.on("stat", ftp(at))), READS),
  operation("sftp lstat", readFile, viaSftp((sftp, at) => sftp.on("lstat", ftp(at))), READS),
  operation("sftp read", readFile, async (who, at) => text(await (await who.sftp()).get(ftp(at))), READS),
  operation("sftp write over", writeFile, viaSftp((sftp, at) => sftp.put(ftp(at), "new"))),
  operation("sftp write", writeFresh, viaSftp((sftp, at) => sftp.put(ftp(at, at.fresh), "new"))),
  operation("sftp append", both(readFile, writeFile), viaSftp((sftp, at) => append(sftp, ftp(at)))),
  operation("sftp mkdir", writeFile, viaSftp((sftp, at) => sftp.mkdir(ftp(at))), MAKES),
  operation("sftp rmdir", both(of("read", "hollow"), of("write", "hollow")), viaSftp((sftp, at) => sftp.on("rmdir", ftp(at, at.hollow)))),
  operation("sftp remove", both(readFile, writeFile), viaSftp((sftp, at) => sftp.on("remove", ftp(at)))),
  operation("sftp rename", both(readFile, writeFile, writeFresh), viaSftp((sftp, at) => sftp.rename(ftp(at), ftp(at, at.fresh)))),
  operation("sftp rename of a tree", both(of("read", "tree", "tree"), of("write", "tree", "tree"), writeFresh),
    viaSftp((sftp, at) => sftp.rename(ftp(at, at.tree), ftp(at, at.fresh)))),
  operation("sftp posix-rename", both(readFile, writeFile, writeFresh),
    viaSftp((sftp, at) => sftp.extended("posix-rename@openssh.com", (packet) => packet.name(ftp(at)).name(ftp(at, at.fresh))))),
  operation("sftp setstat", both(readFile, writeFile),
    viaSftp((sftp, at) => sftp.status("setstat", (packet) => packet.name(ftp(at)).uint32(SIZE_FLAG).uint32(0o600)))),
  operation("sftp symlink", writeFile, viaSftp((sftp, at) => sftp.symlink("somewhere", ftp(at))), MAKES),
];

// ---------------------------------------------------------------- gRPC

const place = (at: Target, path = at.file): object => ({ space: at.space, path });
const upload = (where: object): object[] => [{ header: { place: where } }, { data: Buffer.from("new") }, { finish: true }];

const GRPC: readonly Operation[] = [
  operation("List", seeDir, async (who, at) =>
    shows(await who.grpc("List", { below: place(at, at.dir) }), name(at.file)), READS),
  operation("Stat", readFile, (who, at) => who.grpc("Stat", { place: place(at) }), READS),
  operation("Download", readFile, (who, at) => who.grpc("Download", { place: place(at) }), READS),
  operation("Download a part", readFile, (who, at) =>
    who.grpc("Download", { place: place(at), offset: "1", length: "2" }), READS),
  operation("Upload over", writeFile, (who, at) => who.grpc("Upload", {}, upload(place(at)))),
  operation("Upload", writeFresh, (who, at) => who.grpc("Upload", {}, upload(place(at, at.fresh)))),
  operation("Remove", writeFile, (who, at) => who.grpc("Remove", { place: place(at) })),
  operation("Remove a tree", of("write", "tree", "tree"), (who, at) =>
    who.grpc("Remove", { place: place(at, at.tree), recursive: true })),
  operation("Move", both(readFile, writeFile, writeFresh), (who, at) =>
    who.grpc("Move", { from: place(at), toPath: at.fresh })),
  operation("Move a tree", both(of("read", "tree", "tree"), of("write", "tree", "tree"), writeFresh), (who, at) =>
    who.grpc("Move", { from: place(at, at.tree), toPath: at.fresh })),
];

const DOORS = { API, tus: TUS, WebDAV: DAV, S3, FTP, SFTP, gRPC: GRPC } as const;

export const OPERATIONS = Object.entries(DOORS).flatMap(([door, all]) =>
  all.map((one): Operation & { readonly door: string } => ({ ...one, door })),
);
