/** What documents of WebDAV may have, those in requests and the properties that are kept. */
import type { XmlBounds } from "#gateway/xml.ts";

export const DAV_XML: XmlBounds = { bytesMax: 256 << 10, depthMax: 64, nodesMax: 10_000 };
