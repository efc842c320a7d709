/** Opens places on foreign systems as sides: what the address, the options and the environment say, put together. */
import { join } from "node:path";
import { type Environment, ftpLogin, s3Credentials, s3Profile } from "#cli/credentials.ts";
import { makeFolder } from "#cli/local-files.ts";
import { type SideAddress, isOrigin } from "#cli/side-address.ts";
import type { SideContext } from "#cli/sides.ts";
import { usage } from "#cli/values.ts";
import type { Endpoint } from "#sync/endpoint/endpoint.ts";
import type { AddressOf } from "#sync/foreign/client-parts.ts";
import { ForeignEndpoint } from "#sync/foreign/foreign-endpoint.ts";
import type { ForeignFiles } from "#sync/foreign/foreign-files.ts";
import { FtpFiles } from "#sync/foreign/ftp/ftp-files.ts";
import { S3Files } from "#sync/foreign/s3/s3-files.ts";
import { SftpFiles } from "#sync/foreign/sftp/sftp-files.ts";
import type { Store } from "#sync/index/store.ts";
import type { TlsTrust } from "#sync/transport/server-trust.ts";

type Kind<K extends SideAddress["kind"]> = SideAddress & { kind: K };
export type ForeignAddress = Kind<"ftp"> | Kind<"sftp"> | Kind<"s3">;

export type ForeignSideContext = Pick<
  SideContext,
  "host" | "stateDir" | "owner" | "credentialsFile" | "sshCommand" | "identity" | "ca"
>;

/** What a foreign side needs of what all sides have alike. */
export type ForeignSideParts = {
  readonly openStore: (name: string) => Store;
  readonly removeStore: (name: string) => void;
  readonly hash: (text: string) => string;
  readonly trust: TlsTrust;
  /** What names keys and files of keys besides the options. */
  readonly environment: Environment;
  /** Looks at where a name leads before anything is sent there; undefined: a person at this host said where. */
  readonly addressOf: AddressOf | undefined;
};

type Place = { readonly files: () => ForeignFiles; readonly server: string; readonly path: string };

/**
 * @param parts how the state of endpoints is kept and what is trusted, which all sides have alike
 * @throws {SynclineError} USAGE when credentials are missing
 */
export function foreignOpener(address: ForeignAddress, context: ForeignSideContext, parts: ForeignSideParts): () => Endpoint {
  const { host, stateDir, owner } = context;
  const place = placeOf(address, context, parts);
  return () => {
    const stageFolder = join(stateDir, "foreign-stages");
    makeFolder(stageFolder);
    return new ForeignEndpoint({
      host,
      files: place.files(),
      owner,
      place: { server: place.server, path: place.path },
      openStore: parts.openStore,
      removeStore: parts.removeStore,
      stageFolder,
      hash: parts.hash,
    });
  };
}

function placeOf(address: ForeignAddress, context: ForeignSideContext, parts: ForeignSideParts): Place {
  const { trust, environment, addressOf } = parts;
  const { host, owner, credentialsFile, sshCommand, identity } = context;
  const { clock, random } = host;
  if (address.kind === "s3") return bucketOf(address, context, parts);
  const { host: name, user, port, path } = address;
  if (address.kind === "sftp") {
    const server = { target: { host: name, user, port }, command: sshCommand, addressOf };
    const files = (): ForeignFiles => new SftpFiles({ server, root: path, owner, random });
    return { files, server: `sftp://${name}:${port ?? ""}`, path };
  }
  const login = ftpLogin(name, user, credentialsFile, environment);
  const server = { host: name, port: address.port, ...login, tls: address.tls, trust, identity, addressOf };
  const files = (): ForeignFiles => new FtpFiles({ server, root: path, owner, clock, random });
  return { files, server: `ftp://${login.user}@${name}:${address.port}`, path };
}

function bucketOf(
  address: Kind<"s3">,
  { host, ca, credentialsFile }: ForeignSideContext,
  { environment: env, addressOf }: ForeignSideParts,
): Place {
  const { bucket, prefix, profile } = address;
  const { endpoint, region, style } = bucketServer(address, env);
  const credentials = s3Credentials(credentialsFile, profile, env);
  const place = { endpoint, region, bucket, style, credentials, ca, reach: addressOf === undefined ? undefined : ("public" as const) };
  const files = (): ForeignFiles => new S3Files({ place, prefix, clock: host.clock, random: host.random });
  return { files, server: `${endpoint}/${bucket}`, path: `/${prefix}` };
}

type BucketServer = { readonly endpoint: string; readonly region: string; readonly style: "path" | "virtual" };

/** Where a bucket is. @throws {SynclineError} USAGE */
export function bucketServer({ bucket, profile, ...address }: Kind<"s3">, env: Environment): BucketServer {
  const own = s3Profile(profile, env);
  const region = address.region ?? env.AWS_REGION ?? env.AWS_DEFAULT_REGION ?? own.region ?? "us-east-1";
  const given = address.endpoint ?? env.AWS_ENDPOINT_URL_S3 ?? env.AWS_ENDPOINT_URL ?? own.endpoint_url;
  const endpoint = given?.replace(/\/+$/, "") ?? `https://s3.${region}.amazonaws.com`;
  if (!isOrigin(endpoint)) throw usage(`"${endpoint}" is no endpoint of S3`, "https://host:port, without a path");
  // A name with dots is none that the endpoint's certificate is for.
  const style = address.style ?? (given === undefined && !bucket.includes(".") ? "virtual" : "path");
  return { endpoint, region, style };
}
