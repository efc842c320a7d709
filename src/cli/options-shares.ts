/** What of the command line is about shares; options.ts takes it into its table. */
import { SHARE_KINDS } from "#hub/shares/share.ts";

const CLIENT = ["hub", "token-file", "ca", "json", "quiet", "verbose", "state-dir", "help"] as const;

export const SHARE_OPTIONS = {
  allow: { type: "choice", choices: SHARE_KINDS, lineOnly: true, fallback: "read", help: "what who has the address may do" },
  downloads: { type: "text", value: "N", lineOnly: true, help: "as many downloads, then no more (default: any number)" },
  put: { type: "flag", lineOnly: true, help: "to put the file, not to fetch it" },
  for: { type: "duration", lineOnly: true, fallback: "1h", help: "how long it is good, up to 7d" },
  note: { type: "text", value: "TEXT", lineOnly: true, help: "a few words that who has the address gets to read" },
} as const;

export const SHARE_COMMANDS = {
  share: {
    summary: "give others an address at which they read a part of a space, or put files there",
    operands: "create SPACE[:PATH] | list SPACE | show SPACE ID | revoke SPACE ID",
    min: 2,
    max: 3,
    words: ["create", "list", "show", "revoke"],
    options: ["allow", "downloads", "expires", "note", "password-file", ...CLIENT],
    details: [
      "create prints the address, this once; its hub keeps the hash of it. Browsers get a page, curl and other programs " +
        "the file itself, or a list as JSON. Uploads never replace what is there.",
      "A share is good for as long as whoever made it may do what it lets others do. list shows those that you made, and " +
        "all to who manages the space. A password goes into a file: the first line of --password-file.",
    ],
    examples: [
      "syncline share create site:docs --expires 14d --downloads 20",
      "syncline share create inbox --allow upload --note 'Your pictures, please'",
    ],
  },
  sign: {
    summary: "make an address at which anybody may fetch, or put, one file for a while",
    operands: "SPACE:PATH",
    min: 1,
    max: 1,
    options: ["put", "for", ...CLIENT],
    details: [
      "It gives what you may do at that path as long as it lasts, and cannot be taken back before: syncline share can.",
    ],
    examples: ['curl -T report.pdf "$(syncline sign site:in/report.pdf --put --for 10m --quiet)"'],
  },
} as const;
