/** Keys of the doors of a hub. Every listener is off until its key is given. */
import { FTP_KEYS } from "#config/ftp-keys.ts";
import type { KeySpec } from "#config/hub-keys.ts";

export const DOOR_KEYS = {
  ...FTP_KEYS,
  s3Listen: {
    type: "text",
    pattern: /^(\[[0-9a-fA-F:.]+\]|[^:[\]]*):\d{1,5}$/,
    grammar: "HOST:PORT, like 0.0.0.0:9000 or [::]:9000",
    fallback: "none: no S3",
    help: "address on which S3 is spoken; buckets are spaces; port 0 picks one",
    value: "HOST:PORT",
  },
  s3Domain: {
    type: "list",
    pattern: /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/,
    grammar: "names of hosts, like s3.example.com",
    fallback: "none: buckets are in the path alone",
    help: "names below which the first part of the host is the bucket (BUCKET.s3.example.com)",
    value: "NAME,...",
  },
} as const satisfies Record<string, KeySpec>;
