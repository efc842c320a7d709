/**
 * How S3 calls the versions of a key: by their sequence, or "null" (hub/versioning.ts). Where a bucket shows no versions,
 * "null" is whatever the key has.
 */
import { idOf } from "#gateway/s3/object-facts.ts";
import type { Header, S3Call } from "#gateway/s3/s3-call.ts";
import type { VersionName } from "#hub/meta/purge.ts";
import type { Version } from "#hub/space.ts";
import type { Versioning } from "#hub/versioning.ts";
import type { RelPath } from "#model/path.ts";

export const NULL_VERSION = "null";

export function versionIdOf(versioning: Versioning, version: Pick<Version, "attributes" | "sequence">): string {
  const name = idOf(version);
  return versioning.isNull(name) ? NULL_VERSION : String(name);
}

/** Of what was made or is answered with, where the bucket shows versions. */
export async function versionHeader({ services, request }: S3Call, version: Version): Promise<Header[]> {
  const versioning = await services.settings.versioning(request.bucket);
  return versioning.isShown ? [["x-amz-version-id", versionIdOf(versioning, version)]] : [];
}

/** Whether an id names one version of many, and not the one that every key has in a bucket without versions. */
export async function isSingle({ services }: S3Call, bucket: string, versionId: string): Promise<boolean> {
  return versionId !== NULL_VERSION || (await services.settings.versioning(bucket)).isShown;
}

/**
 * Undefined: the path has no version of that name, whatever else it has.
 * @throws {SynclineError} DENIED, SPACE_UNKNOWN, of "null" alone: it has to be looked for
 */
export async function versionNameOf(
  { services, who }: S3Call,
  bucket: string,
  path: RelPath,
  versionId: string,
): Promise<VersionName | undefined> {
  if (versionId === NULL_VERSION) return services.versions.nullOf(who, bucket, path);
  const sequence = sequenceOf(versionId);
  if (sequence === undefined) return undefined;
  const versioning = await services.settings.versioning(bucket);
  return versioning.isShown && versioning.isNull(sequence) ? undefined : { path, sequence };
}

/** Undefined for what can be the id of no version. */
export function sequenceOf(versionId: string): number | undefined {
  return /^[1-9]\d{0,14}$/.test(versionId) ? Number(versionId) : undefined;
}
