/** What a PUT says of the file beside its bytes: its media type, and metadata of the user's own. */
import { type Attributes, NO_ATTRIBUTES, attributesFault, withoutContent } from "#hub/attributes.ts";
import type { Version } from "#hub/space.ts";
import { ApiProblem } from "#gateway/api/problem.ts";
import { percentDecode } from "#gateway/api/url-path.ts";

const MEDIA_TYPE = "x-syncline-media-type";
const META = "x-syncline-meta-";
const OF_USER = "user.";

/**
 * Not of Content-Type: programs send one with every body, whatever is in it.
 * @param old what is there, as far as the caller may see it
 * @returns undefined where nothing is said: then the space keeps what stays
 * @throws {ApiProblem} USAGE
 */
export function attributesSaid(headers: Headers, old: Version | undefined): Attributes | undefined {
  const type = headers.get(MEDIA_TYPE);
  const given = [...headers].filter(([name]) => name.startsWith(META));
  const own = given.map(([name, value]) => [OF_USER + name.slice(META.length), percentDecode(value)]);
  if (type === null && own.length === 0) return undefined;
  const kept = Object.entries(withoutContent(old?.attributes ?? NO_ATTRIBUTES));
  const attributes = {
    // What is said of the user's own is said as a whole.
    ...Object.fromEntries(own.length === 0 ? kept : kept.filter(([name]) => !name.startsWith(OF_USER))),
    ...(type === null ? {} : { "http.content-type": type }),
    ...(Object.fromEntries(own) as Attributes),
  };
  const fault = attributesFault(attributes);
  if (fault !== undefined) throw new ApiProblem("USAGE", fault, "send X-Syncline-Meta-NAME: VALUE, percent-encoded, 16 KiB in all");
  return attributes;
}
