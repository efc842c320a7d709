/** Tags of objects: up to ten names with values, kept in one text as a query. Pure. */
import { S3Error } from "#gateway/s3/s3-error.ts";

const TAGS_MAX = 10;
const NAME_CHARS_MAX = 128;
const VALUE_CHARS_MAX = 256;
const ALLOWED = /^[\p{L}\p{N}\p{Zs}_.:/=+\-@]*$/u;

export type Tags = readonly (readonly [name: string, value: string])[];

/** @throws {S3Error} InvalidTag */
export function checkedTags(tags: Tags): Tags {
  if (tags.length > TAGS_MAX) throw new S3Error("InvalidTag", `an object has up to ${TAGS_MAX} tags`);
  for (const [name, value] of tags) {
    const isRight = name.length >= 1 && name.length <= NAME_CHARS_MAX && value.length <= VALUE_CHARS_MAX;
    if (!isRight || !ALLOWED.test(name) || !ALLOWED.test(value)) {
      throw new S3Error("InvalidTag", "a tag is too long, or holds what it must not");
    }
  }
  if (new Set(tags.map(([name]) => name)).size < tags.length) throw new S3Error("InvalidTag", "a tag is given twice");
  return tags;
}

/** As x-amz-tagging has them. @throws {S3Error} InvalidTag */
export function parseTagging(text: string): Tags {
  return checkedTags([...new URLSearchParams(text)]);
}

export function tagsText(tags: Tags): string {
  return new URLSearchParams(tags.map(([name, value]): [string, string] => [name, value])).toString();
}
