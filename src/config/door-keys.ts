/** Keys of the doors of a hub. Every listener is off until its key is given. */
import { FTP_KEYS } from "#config/ftp-keys.ts";
import type { KeySpec } from "#config/hub-keys.ts";
import { LISTEN } from "#config/listen-key.ts";

export const DOOR_KEYS = {
  ...FTP_KEYS,
  s3Listen: {
    ...LISTEN,
    grammar: "HOST:PORT, like 0.0.0.0:9000 or [::]:9000",
    fallback: "off",
    help: "address on which S3 is spoken; buckets are spaces; port 0 picks one",
  },
  s3Domain: {
    type: "list",
    pattern: /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/,
    grammar: "names of hosts, like s3.example.com",
    fallback: "none: buckets are in the path alone",
    help: "names below which the first part of the host is the bucket (BUCKET.s3.example.com)",
    value: "NAME,...",
  },
  s3PublicBuckets: {
    type: "list",
    pattern: /^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/,
    grammar: "names of buckets",
    fallback: "none",
    help: "buckets whose policy may let everybody read over S3 what it names, without signing in",
    value: "NAME,...",
  },
  s3SignatureV2: {
    type: "text",
    pattern: /^(on|off)$/,
    grammar: "on or off",
    fallback: "off",
    help: "whether forms and presigned addresses with AWS Signature Version 2 (HMAC-SHA1) are taken",
    value: "on|off",
  },
  sftpListen: {
    ...LISTEN,
    grammar: "HOST:PORT, like 0.0.0.0:2022 or [::]:2022",
    fallback: "off",
    help: "address on which SFTP clients connect; port 0 picks one",
  },
  sftpRoots: {
    type: "list",
    pattern: /^[^=,/]{1,255}=[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?(\/[^,]+)?$/,
    grammar: "USER=SPACE or USER=SPACE/DIRECTORY",
    fallback: "all users see the spaces that they may read, as top folders",
    help: "users who see one space, or a directory of one, as their whole tree over SFTP",
    value: "USER=SPACE,...",
  },
  sftpUserAuthorities: {
    type: "text",
    pattern: /^.+$/,
    grammar: "a file",
    fallback: "none",
    help: "file with public keys, one a line; OpenSSH user certificates signed by one of them let the users in that they name",
    value: "FILE",
  },
  grpcListen: {
    type: "text",
    pattern: /^(\[[0-9a-fA-F:.]+\]|[^:[\]]*):\d{1,5}$/,
    grammar: "HOST:PORT, like 0.0.0.0:7840 or [::]:7840",
    fallback: "off",
    help: "address for gRPC (TLS as on listen); port 0 picks one",
    value: "HOST:PORT",
  },
} as const satisfies Record<string, KeySpec>;
