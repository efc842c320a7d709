import { expect, test } from "bun:test";
import fc from "fast-check";
import { SynclineError } from "#model/error.ts";
import { pathFault } from "#model/path.ts";
import { hrefOf, placeOf, placeOfUrl } from "#gateway/dav/place.ts";

test("[DAV-23] an address is a path of a space that can be used, or is refused; what is told is understood again", () => {
  const piece = fc.constantFrom("/", "//", "a", "demo", "%2F", "%2e%2e", "..", ".", "%00", "%", "%zz", "%FF", "%C3%28", "\u00fc", "\\", " ", ".syncline", "?", "#");
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }).map((parts) => `/dav${parts.join("")}`), fc.boolean(), (raw, isDir) => {
      let place: ReturnType<typeof placeOf>;
      try {
        place = placeOf(raw);
      } catch (error) {
        expect(error).toBeInstanceOf(SynclineError);
        return;
      }
      if (place !== undefined) expect([place.space === "", pathFault(place.path, true)]).toEqual([false, undefined]);
      const href = hrefOf(place, isDir);
      expect(href).toMatch(/^\/dav\/[A-Za-z0-9%~._/-]*$/);
      expect(placeOf(href)).toEqual(place);
      expect(placeOfUrl(`https://Hub.example:443${href}`, ["hub.example"])).toEqual({ place });
    }),
    { numRuns: 2000 },
  );
});

test("[DAV-23] a URL of another server, or of another part of this one, names nothing here", () => {
  const hosts = ["hub.example", "127.0.0.1:7830"];
  const placed = (url: string): unknown => placeOfUrl(url, hosts);
  const f = { place: { space: "demo", path: "f" } };
  for (const url of ["/dav/demo/f", "http://hub.example/dav/demo/f?x#y", "https://user@HUB.example:443/dav/demo/f", "http://127.0.0.1:7830/dav/demo/f"]) {
    expect([url, placed(url)]).toEqual([url, f]);
  }
  for (const url of ["http://other.example/dav/demo/f", "http://hub.example:81/dav/demo/f", "/davx/demo/f", "http://hub.example/v1/spaces", "http://hub.example"]) {
    expect([url, placed(url)]).toEqual([url, undefined]);
  }
  for (const url of ["dav/demo/f", "", "ftp://hub.example/dav/demo/f"]) expect(() => placed(url)).toThrow(SynclineError);
});
