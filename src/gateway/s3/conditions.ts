/** Conditions of requests, as S3 answers them. Pure. */
import { httpDateMs } from "#platform/net/http-date.ts";
import { etagOf } from "#gateway/s3/object-facts.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import type { Expect, Version } from "#hub/space.ts";

/** Clients send tags with their quotes and without. */
function names(header: string, etag: string): boolean {
  return header.split(",").some((one) => {
    const tag = one.trim().replace(/^W\//, "");
    return tag === "*" || tag === etag || `"${tag}"` === etag;
  });
}

export function preconditionFailed(condition: string): S3Error {
  return new S3Error("PreconditionFailed", "at least one of the conditions does not hold", { Condition: condition });
}

const seconds = (ms: number): number => Math.floor(ms / 1000);
/** Undefined: no header, or no date in it. */
function dateOf(header: string | undefined): number | undefined {
  const ms = header === undefined ? Number.NaN : httpDateMs(header);
  return Number.isNaN(ms) ? undefined : seconds(ms);
}

type Ask = (name: string) => string | undefined;

/**
 * What the conditions of a reading request come to (RFC 9110 §13.2.2).
 * @param ask the header of a name
 * @throws {S3Error} PreconditionFailed
 */
export function readCondition(ask: Ask, version: Version, modifiedMs: number): "send" | "not-modified" {
  const etag = etagOf(version);
  const match = ask("if-match");
  const unmodified = dateOf(ask("if-unmodified-since"));
  if (match !== undefined) {
    if (!names(match, etag)) throw preconditionFailed("If-Match");
  } else if (unmodified !== undefined && seconds(modifiedMs) > unmodified) throw preconditionFailed("If-Unmodified-Since");
  const none = ask("if-none-match");
  if (none !== undefined) return names(none, etag) ? "not-modified" : "send";
  const since = dateOf(ask("if-modified-since"));
  return since !== undefined && seconds(modifiedMs) <= since ? "not-modified" : "send";
}

/** Is a Range to be looked at? Not when If-Range names other content. */
export function rangeApplies(ifRange: string | undefined, version: Version, modifiedMs: number): boolean {
  if (ifRange === undefined) return true;
  return ifRange.startsWith('"') ? ifRange === etagOf(version) : dateOf(ifRange) === seconds(modifiedMs);
}

export type WriteCondition = { readonly match: string | undefined; readonly none: string | undefined };

/**
 * What must still be true when the change is made, for the conditions to hold.
 * @param there what is there now; undefined: nothing
 * @throws {S3Error} PreconditionFailed, NoSuchKey
 */
export function expectOf({ match, none }: WriteCondition, there: Version | undefined, key: string): Expect {
  if (match === undefined && none === undefined) return { kind: "any" };
  if (match !== undefined) {
    if (there === undefined) throw new S3Error("NoSuchKey", "there is no such key", { Key: key });
    if (!names(match, etagOf(there))) throw preconditionFailed("If-Match");
  }
  if (none !== undefined && there !== undefined && names(none, etagOf(there))) throw preconditionFailed("If-None-Match");
  return there === undefined ? { kind: "absent" } : { kind: "sequence", sequence: there.sequence };
}
