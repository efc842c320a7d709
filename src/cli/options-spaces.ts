/** The part of the command table (options.ts) that is about spaces of a hub and the files in them. */
import type { CommandSpec, OptionSpec } from "#cli/options.ts";

const CLIENT = ["hub", "token-file", "ca", "json", "quiet", "verbose", "state-dir", "help"] as const;
const PLACE = "SPACE[:PATH]";

export const SPACE_OPTIONS = {
  async: { type: "flag", lineOnly: true, help: "a job of the hub makes the file; the command ends when the hub has all bytes" },
  archive: { type: "choice", choices: ["zip", "tar"], lineOnly: true, help: "a directory, or a file, as an archive" },
  quota: { type: "text", value: "SIZE|none", lineOnly: true, help: "bytes that the files of the space may take (10GiB)" },
  entries: { type: "text", value: "N|none", lineOnly: true, help: "files, directories and links that the space may have" },
  "keep-versions": { type: "text", value: "N|all", lineOnly: true, help: "how many old versions of a path are kept" },
  "keep-for": { type: "text", value: "TIME|all", lineOnly: true, help: "how long old versions are kept (90d)" },
  ignore: {
    type: "list",
    value: "PATTERN",
    lineOnly: true,
    help: "what links of the space leave out (gitignore syntax); takes the place of what was there, none is nothing",
  },
  after: { type: "text", value: "SEQUENCE", lineOnly: true, help: "all changes after this one; 0: from the beginning" },
  "source-space": { type: "text", value: "NAME", lineOnly: true, help: "the name of the space there", fallback: "the same" },
  "source-token-file": { type: "text", value: "FILE", complete: "file", help: "token of a user there who may read all of the space" },
  "source-ca": { type: "text", value: "FILE", complete: "file", help: "certificate of the authority of that hub (PEM)" },
} as const satisfies Record<string, OptionSpec>;

export const SPACE_COMMANDS = {
  space: {
    summary: "list, make, change and remove spaces of a hub",
    operands:
      "list | show NAME | create NAME | rename NAME NEW | set NAME | delete NAME | undelete NAME | digest NAME | " +
      "conflicts NAME[:PATH] | resolve NAME:PATH | undo NAME RUN | follow NAME | follows | compare NAME | unfollow NAME | " +
      "promote NAME",
    min: 1,
    max: 3,
    words: [
      "list", "show", "create", "rename", "set", "delete", "undelete",
      "conflicts", "resolve", "undo", "digest", "follow", "follows", "compare", "unfollow", "promote",
    ],
    options: [
      "quota", "entries", "keep-versions", "keep-for", "ignore",
      "keep", "as", "host", "message", "at", "from", "source-space", "source-token-file", "source-ca", ...CLIENT,
    ],
    details: [
      "create and set take --quota, --entries, --keep-versions, --keep-for and --ignore; what is not named stays. What " +
        "restore points and locks hold is kept whatever retention says. show tells all settings.",
      "conflicts lists losers of conflicts that lie beside their winners, with who made them, and what links have left " +
        "open on both sides. resolve settles one, named by its copy or its path: --keep current, copy or both; --host " +
        "says whose, of those that were left open. Exit of conflicts: 0 none, 2 some. undo takes a run of the space back.",
      "follow makes NAME a copy of a space of another hub, with its whole history; the copy takes no changes. A space " +
        "that has lived the same life goes on from where it is, and what it alone has is kept in a space beside it. " +
        "Its source must be one that the hub's followSources lets it reach; --quota bounds the copy alone. " +
        "follows shows all copies and how they are; compare asks the source now, by digests. Exit 1: one is not well.",
      "promote makes a copy the space that is written to, where its source is lost, and says what of it is missing. " +
        "unfollow only ends the asking.",
    ],
    examples: [
      "syncline space create site --quota 10GiB --token-file token",
      "syncline space set site --keep-versions 100 --keep-for 365d --ignore '*.tmp' --ignore node_modules",
      "syncline space resolve site:docs/index.html --keep copy",
      "syncline space follow site --from https://hub1:7830 --source-token-file hub1-token --source-ca hub1-ca.pem",
      "syncline space promote site",
    ],
  },
  ls: {
    summary: "list what is in a space, now or at a point",
    operands: PLACE,
    min: 1,
    max: 1,
    options: ["at", "recursive", ...CLIENT],
    examples: ["syncline ls site:docs --at @before-upgrade"],
  },
  put: {
    summary: "write a file into a space",
    operands: "FILE SPACE:PATH",
    min: 2,
    max: 2,
    options: ["async", ...CLIENT],
    details: [
      "FILE - is standard input. It is durable at the hub when the command ends. Files from 32 MiB on go in parts, of which",
      "only those travel that the space does not have; broken off, the same command goes on where it was. With --async it",
      "ends when all bytes are there; the file is when the job is done that it names: syncline jobs show N.",
    ],
  },
  get: {
    summary: "read a file from a space, now or at a point",
    operands: "SPACE:PATH [FILE]",
    min: 1,
    max: 2,
    options: ["at", "archive", ...CLIENT],
    details: [
      "FILE - is standard output; without FILE it gets the name that it has in the space. Broken off, the same command goes",
      "on with a file of 32 MiB and more: what has come lies beside its place, as .FILE.….part.",
    ],
  },
  rm: {
    summary: "remove a file or a directory from a space; its history stays",
    operands: "SPACE:PATH",
    min: 1,
    max: 1,
    options: ["recursive", ...CLIENT],
    examples: ["syncline rm site:docs --recursive"],
  },
  mkdir: {
    summary: "make a directory in a space, and those above it",
    operands: "SPACE:PATH",
    min: 1,
    max: 1,
    options: [...CLIENT],
  },
  mv: {
    summary: "move a file or a directory within a space",
    operands: "SPACE:FROM TO",
    min: 2,
    max: 2,
    options: [...CLIENT],
    examples: ["syncline mv site:draft.html index.html"],
  },
  cp: {
    summary: "copy a file or a directory within a space, as it is or was; no bytes are moved",
    operands: "SPACE:FROM TO",
    min: 2,
    max: 2,
    options: ["at", ...CLIENT],
    examples: ["syncline cp site:index.html index.old.html", "syncline cp site:docs docs.before --at @friday"],
  },
  history: {
    summary: "show the versions of a path in a space: who, when, why",
    operands: "SPACE:PATH",
    min: 1,
    max: 1,
    options: ["limit", ...CLIENT],
  },
  journal: {
    summary: "show every change of a space, or of a part of it: who, from where, why",
    operands: PLACE,
    min: 1,
    max: 1,
    options: ["after", "limit", ...CLIENT],
    details: [
      "The last ones, oldest first; with --after all that came since. Each has its sequence, and those that were made " +
        "together the run: syncline space undo SPACE RUN takes it back. --verbose adds the trace id, by which a change is " +
        "found in logs and traces. --json is the export: one record a line, as it is kept.",
    ],
    examples: ["syncline journal site", "syncline journal site:docs --after 41", "syncline journal site --after 0 --json > site.ndjson"],
  },
  "restore-point": {
    summary: "give moments of a space a name, to go back to",
    operands: "create SPACE NAME | list SPACE | delete SPACE NAME",
    min: 2,
    max: 3,
    words: ["create", "list", "delete"],
    options: ["at", ...CLIENT],
    details: [
      "A restore point is the space as it is now, or was --at a point. It never changes, and keeps the versions of its " +
        "moment until it is deleted. Wherever a POINT is asked for it is @NAME.",
    ],
    examples: ["syncline restore-point create site before-upgrade", "syncline restore site --to @before-upgrade"],
  },
  restore: {
    summary: "bring a path, or a whole space, back to a point, as new changes",
    operands: PLACE,
    min: 1,
    max: 1,
    options: ["to", "dry-run", "message", ...CLIENT],
    examples: ["syncline restore site:docs --to 2026-11-20T12:00:00Z --dry-run", "syncline restore site --to @friday"],
  },
} as const satisfies Record<string, CommandSpec>;
