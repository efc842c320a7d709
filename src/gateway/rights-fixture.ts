/**
 * A hub with all of its doors open, people with rights of every kind, and what they ask for through each door: the
 * operations themselves are in rights-operations.ts.
 */
import { Client as GrpcClient, Metadata, type ServiceError, credentials } from "@grpc/grpc-js";
import type { MethodDefinition } from "@grpc/grpc-js";
import { type Action, type Principal, systemPrincipal } from "#access/access.ts";
import { RoleBook, decide, reaches } from "#access/decide.ts";
import { readBootstrap } from "#config/bootstrap.ts";
import type { SpaceChange } from "#hub/space.ts";
import { ApiLab, type Asked, TOKENS } from "#gateway/api/api-fixture.ts";
import { type FtpClient, FtpLab } from "#gateway/ftp/ftp-fixture.ts";
import { FILES, serviceOf } from "#gateway/grpc/schema.ts";
import { type S3Asked, S3Lab, SECRET } from "#gateway/s3/s3-fixture.ts";
import { SftpLab, type TestSftp } from "#gateway/sftp/sftp-fixture.ts";

const PASSWORD = "correct horse";
const NO_SPACE = "none";
const SYSTEM = systemPrincipal("test");

/** What every file has in it at first; its SHA-256 and so its ETag tell nobody who may not read it what is in it. */
export const TEXT = "text";
export const TEXT_SHA256 = new Bun.CryptoHasher("sha256").update(TEXT).digest("hex");

/** Roles by whom they belong to. Whoever is walled may do all, but nothing in one directory of each tree. */
const RULES: Readonly<Record<string, string>> = {
  stranger: "",
  elsewhere: "{effect: allow, resource: space, actions: [read], names: [demo], prefixes: [out]}",
  reader: "{effect: allow, resource: space, actions: [read], names: [demo], prefixes: [in]}",
  blind: "{effect: allow, resource: space, actions: [write], names: [demo, none], prefixes: [in]}",
  dropper: `{effect: allow, resource: space, actions: [write], names: [demo], prefixes: [in]},
            {effect: allow, resource: space, actions: [read], names: [demo], prefixes: [out]}`,
  writer: "{effect: allow, resource: space, actions: [read, write, restore], names: [demo], prefixes: [in]}",
  full: '{effect: allow, resource: space, actions: ["*"], names: [demo]}',
  barred: `{effect: allow, resource: space, actions: ["*"], names: [demo]},
           {effect: deny, resource: space, actions: ["*"], names: [demo], prefixes: [in]}`,
};
export const PEOPLE = [...Object.keys(RULES), "walled"];

/** What an operation is aimed at. What ends with "a" is there, what ends with "b" is not. */
export type Target = {
  readonly space: string;
  readonly dir: string;
  readonly file: string;
  /** A directory with a file and a directory in it. */
  readonly tree: string;
  readonly hollow: string;
  /** Nothing is there. */
  readonly fresh: string;
};

export type Outcome = {
  readonly kind: "done" | "refused" | "unauthenticated" | "other";
  /** All that the asker was told. */
  readonly told: string;
};

export type Need = readonly [action: Action | "reach", path: string, of?: "tree" | undefined];

export type Operation = {
  readonly name: string;
  /** All of them: then it is done, and otherwise it is refused. */
  readonly needs: (target: Target) => readonly Need[];
  readonly run: (person: Person, target: Target) => Promise<Outcome>;
  /** Done where nothing is, and refused where something is, if it is allowed. */
  readonly makes?: true;
  /** Changes nothing of the space when it is done. */
  readonly reads?: true;
};

export class RightsLab implements AsyncDisposable {
  readonly api: ApiLab;
  readonly book: RoleBook;
  readonly #people = new Map<string, Person>();
  readonly s3: S3Lab;
  readonly ftp: FtpLab;
  readonly sftp: SftpLab;
  readonly grpc: GrpcClient;

  private constructor(api: ApiLab, book: RoleBook) {
    this.api = api;
    this.book = book;
    this.s3 = S3Lab.over(api);
    this.ftp = FtpLab.over(api);
    this.sftp = SftpLab.over(api);
    const url = api.hub.doors.find((one) => one.startsWith("grpc"))!;
    this.grpc = new GrpcClient(new URL(url.replace("grpc:", "http:")).host, credentials.createInsecure());
  }

  /** @param operations by their names there is a directory of its own for each person */
  static async open(operations: readonly Operation[]): Promise<RightsLab> {
    const text = bootstrapOf(operations);
    const listen = "127.0.0.1:0";
    const config = { ftpListen: listen, s3Listen: listen, sftpListen: listen, grpcListen: listen };
    const lab = new RightsLab(await ApiLab.open(config, text), new RoleBook(readBootstrap(text, "test.yaml").roles));
    await lab.#fill(operations);
    return lab;
  }

  async #fill(operations: readonly Operation[]): Promise<void> {
    const { spaces } = this.api.hub;
    await using intake = spaces.intake(SYSTEM, "demo");
    const { content, sum } = await intake.store(Buffer.from(TEXT));
    const file = { kind: "file", size: content.size, mode: 0o644, mtimeNs: 1n, sum } as const;
    const dir = { kind: "dir", mode: 0o755 } as const;
    const put = (path: string, isFile: boolean): SpaceChange => ({
      type: "put", path, expect: { kind: "absent" }, entry: isFile ? file : dir, content: isFile ? content : undefined, makeParents: true,
    });
    const changes = operations.flatMap((_, index) =>
      PEOPLE.flatMap((name) => {
        const at = targetOf(index, name, "a");
        return [put(at.file, true), put(at.hollow, false), put(`${at.tree}/top`, true), put(`${at.tree}/sub/leaf`, true)];
      }),
    );
    const request = { changes, intake, atomic: true, cause: "edit", traceId: "0".repeat(32) } as const;
    const { results } = await spaces.commit(SYSTEM, "demo", request);
    if (results.some(({ status }) => status !== "done")) throw new Error("the space could not be filled");
  }

  person(name: string): Person {
    const known = this.#people.get(name) ?? new Person(this, name);
    this.#people.set(name, known);
    return known;
  }

  /** What access decides. */
  isAllowed(name: string, needs: readonly Need[]): boolean {
    const who: Principal = { id: `user:${name}`, kind: "user", name, roles: [`may-${name}`], scopes: undefined };
    const has = ([action, path, of]: Need): boolean =>
      action === "reach"
        ? reaches(this.book, who, undefined, "read", "demo", path)
        : decide(this.book, who, undefined, action, { type: "space", space: "demo", path, isTree: of === "tree" }).allowed;
    return needs.every(has);
  }

  /** Whoever may see nothing of the space is told of it what is told of one that is not there. */
  seesNothing(name: string): boolean {
    return !this.isAllowed(name, [["reach", ""]]);
  }

  async sequence(): Promise<number> {
    return (await this.api.hub.spaces.space(SYSTEM, "demo")).sequence;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.grpc.close();
    await this.sftp[Symbol.asyncDispose]();
  }
}

export function targetOf(index: number, name: string, which: "a" | "b", space = "demo"): Target {
  const dir = `in/${index}-${name}`;
  return {
    space, dir, file: `${dir}/thing-${which}`, tree: `${dir}/tree-${which}`, hollow: `${dir}/hollow-${which}`, fresh: `${dir}/fresh`,
  };
}

export const elsewhereOf = (target: Target): Target => ({ ...target, space: NO_SPACE });

function bootstrapOf(operations: readonly Operation[]): string {
  const walls = operations.map((_, index) => `${targetOf(index, "walled", "a").tree}/sub`);
  const walled = `{effect: allow, resource: space, actions: ["*"], names: [demo]},
    {effect: deny, resource: space, actions: [read, write], names: [demo], prefixes: [${walls.join(", ")}]}`;
  const roles = PEOPLE.map((name) => `  - {name: may-${name}, rules: [${RULES[name] ?? walled}]}`);
  const users = PEOPLE.map((name) => `  - {name: ${name}, roles: [may-${name}], password: ${PASSWORD}}`);
  const tokens = PEOPLE.map((name) => `  - {user: ${name}, value: ${tokenOf(name)}}`);
  const keys = PEOPLE.map((name) => `  - {user: ${name}, accessKey: ${name}, secretKey: ${SECRET(name)}}`);
  const boss = `  - {name: boss, roles: [admin]}`;
  return [
    "spaces: [{name: demo}]", "roles:", ...roles, "users:", boss, ...users, "tokens:", `  - {user: boss, value: ${TOKENS.admin}}`, ...tokens,
    "s3Keys:", ...keys,
  ].join("\n");
}

const tokenOf = (name: string): string => `${name}-0123456789abcdef0123456789abcdef`;

/** One person with a connection at each door, as it is needed. */
export class Person {
  readonly name: string;
  readonly lab: RightsLab;
  token: string;
  accessKey: string;
  secret: string;
  #ftp: Promise<FtpClient> | undefined;
  #sftp: Promise<TestSftp> | undefined;

  constructor(lab: RightsLab, name: string) {
    this.lab = lab;
    this.name = name;
    this.token = tokenOf(name);
    this.accessKey = name;
    this.secret = SECRET(name);
  }

  async http(method: string, path: string, asked: Asked = {}): Promise<Outcome & { readonly response: Response }> {
    const response = await this.lab.api.ask(path, { method, token: this.token, ...asked });
    return httpOutcome(response);
  }

  /** WebDAV takes a token as a password, too. */
  dav(method: string, path: string, asked: Asked = {}): Promise<Outcome & { readonly response: Response }> {
    const headers = { authorization: `Basic ${btoa(`${this.name}:${this.token}`)}`, ...asked.headers };
    return this.http(method, path, { ...asked, token: "", headers });
  }

  async s3(method: string, target: string, asked: S3Asked = {}): Promise<Outcome> {
    const response = await this.lab.s3.ask(target, { method, as: this.accessKey, secret: this.secret, ...asked });
    const outcome = await httpOutcome(response);
    const code = /<Code>(.*?)<\/Code>/.exec(outcome.told)?.[1] ?? "";
    if (/^(AccessDenied|NoSuch.*)$/.test(code)) return { ...outcome, kind: "refused" };
    return code === "SignatureDoesNotMatch" ? { ...outcome, kind: "unauthenticated" } : outcome;
  }

  ftp(): Promise<FtpClient> {
    return (this.#ftp ??= this.lab.ftp.client().then(async (client) => {
      await client.signIn(this.name, PASSWORD);
      await client.say("TYPE I");
      return client;
    }));
  }

  async ftpSays(...lines: string[]): Promise<Outcome> {
    const client = await this.ftp();
    let reply = "";
    for (const line of lines) {
      reply = await client.say(line);
      if (!/^[23]/.test(reply)) break;
    }
    return ftpOutcome(reply);
  }

  async ftpGets(command: string, offset = 0): Promise<Outcome> {
    const client = await this.ftp();
    if (offset > 0) await client.say(`REST ${offset}`);
    const { bytes, reply } = await client.receive(command);
    const { kind, told } = ftpOutcome(reply);
    return { kind, told: `${told}\n${bytes.toString("latin1")}` };
  }

  async ftpSends(command: string): Promise<Outcome> {
    return ftpOutcome(await (await this.ftp()).send(command, "new"));
  }

  sftp(): Promise<TestSftp> {
    return (this.#sftp ??= this.lab.sftp.signedIn(this.name, PASSWORD));
  }

  /** The answer of a call with one question; of a stream all of them. */
  grpc(name: string, request: object, messages?: readonly object[]): Promise<Outcome> {
    const method = serviceOf(FILES)[name] as unknown as MethodDefinition<object, object>;
    const { path, requestSerialize: write, responseDeserialize: read } = method;
    const metadata = new Metadata();
    if (this.token !== "") metadata.set("authorization", `Bearer ${this.token}`);
    const client = this.lab.grpc;
    return new Promise((resolve) => {
      const settle = (error: ServiceError | null, value?: object): void => resolve(grpcOutcome(error, value));
      if (messages !== undefined) {
        const call = client.makeClientStreamRequest(path, write, read, metadata, settle);
        call.on("error", () => undefined);
        for (const message of messages) call.write(message);
        call.end();
      } else if (method.responseStream) {
        const all: object[] = [];
        const call = client.makeServerStreamRequest(path, write, read, request, metadata);
        call.on("data", (value: object) => all.push(value));
        call.on("error", (error: ServiceError) => settle(error));
        call.on("end", () => settle(null, all));
      } else client.makeUnaryRequest(path, write, read, request, metadata, settle);
    });
  }
}

async function httpOutcome(response: Response): Promise<Outcome & { readonly response: Response }> {
  const { status } = response;
  const told = `${status} ${response.headers.get("etag") ?? ""} ${await response.text()}`;
  const kind = status < 400 ? "done" : status === 401 ? "unauthenticated" : status === 403 || status === 404 ? "refused" : "other";
  return { kind, told, response };
}

function ftpOutcome(reply: string): Outcome {
  return { kind: /^[23]/.test(reply) ? "done" : reply.startsWith("550") ? "refused" : "other", told: reply };
}

function grpcOutcome(error: ServiceError | null, value: object | undefined): Outcome {
  if (error === null) return { kind: "done", told: JSON.stringify(value) };
  const kind = error.code === 16 ? "unauthenticated" : error.code === 5 || error.code === 7 ? "refused" : "other";
  return { kind, told: `${error.code} ${error.details}` };
}

/** By the codes of SFTP. */
export function sftpOutcome(status: number, told = ""): Outcome {
  return { kind: status === 0 ? "done" : status === 2 || status === 3 ? "refused" : "other", told: `${status} ${told}` };
}

/** Of something that lists: done is it where it shows the name. */
export function shows(outcome: Outcome, name: string): Outcome {
  if (outcome.kind !== "done") return outcome;
  return { ...outcome, kind: outcome.told.includes(name) ? "done" : "refused" };
}

/** Without names of what is asked for, and of the request: two of them compare. */
export function comparable({ told }: Outcome): string {
  return told
    .replaceAll(/(thing|tree|hollow)-[ab]/g, "$1")
    .replaceAll(/"traceId":"[^"]*"|<(RequestId|HostId)>[^<]*<\/\1>/g, "")
    .replaceAll(/\b(demo|none)\b/g, "SPACE");
}
