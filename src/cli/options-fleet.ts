/** What of the command line is about hosts, their links, releases and held plans; options.ts takes it into its table. */
const CLIENT = ["hub", "token-file", "ca", "json", "quiet", "verbose", "state-dir", "help"] as const;

export const FLEET_COMMANDS = {
  agents: {
    summary: "show the hosts of a hub: how each is, and when it was last heard; label, revoke and remove them",
    operands: "[HOST...] | label HOST LABEL... | revoke HOST | remove HOST",
    min: 0,
    max: 1000,
    someWords: ["label", "revoke", "remove"],
    options: ["yes", ...CLIENT],
    details: [
      "With --verbose the links of each host: what is behind, in conflict or wrong, and what to do.",
      "label gives a host these labels instead of those it has; none takes them all away.",
      "revoke refuses the certificates of the host and its key from now on, for a key that somebody else may have. Its labels " +
        "and links wait until it joins anew, with another key and a join token that was made since.",
      "remove refuses the host from now on and ends its own links; its files stay. Another host, or the same one with a new " +
        "key, can then join by its name.",
      "Exit: 0 all are well, 1 one needs attention, 3 the hub cannot be asked.",
    ],
    examples: [
      "syncline agents label web1 role=web zone=eu",
      "syncline agents revoke web1",
      "syncline agents --verbose --hub https://hub.example.com:7830 --token-file token",
    ],
  },
  links: {
    summary: "list the links of a hub: which directory of which host follows what",
    operands: "[HOST...]",
    min: 0,
    max: 1000,
    options: [...CLIENT],
    details: ["With --verbose their settings and how far each is."],
  },
  link: {
    summary: "give hosts links, change and remove them",
    operands: "add ROOT=SPACE[:PREFIX][,KEY=VALUE...] | set LINK KEY=VALUE... | remove LINK | resume LINK [HOST]",
    min: 2,
    max: 32,
    words: ["add", "set", "remove", "resume"],
    options: ["host", "label", ...CLIENT],
    details: [
      "LINK is the id that syncline links shows, or a beginning that only it has.",
      "Keys are those of syncline help agent; set also knows root, space, prefix and enabled (yes or no). Nothing behind " +
        "the = takes a bwlimit, scrub, ignore or window away.",
      "Removing a link leaves the files on both sides as they are. resume lets a link go on that was paused.",
    ],
    examples: [
      "syncline link add /srv/www=demo:site,mode=one-way-safe --label role=web",
      "syncline link set 1fa8df15 settle=debounce enabled=no",
    ],
  },
  release: {
    summary: "list the releases of a link, go back to an earlier one, or go on",
    operands: "list WHERE | rollback WHERE [RELEASE] | resume WHERE",
    min: 2,
    max: 4,
    words: ["list", "rollback", "resume"],
    options: [...CLIENT],
    details: [
      "WHERE is LINK HOST, asked of the hub, or on the host itself the root: a path with a /. Without RELEASE it goes " +
        "back to the one before the one that is shown. The link then stays there until somebody lets it go on.",
    ],
    examples: ["syncline release rollback 1fa8df15 web1 --token-file token", "syncline release list /srv/site"],
  },
  deps: {
    summary: "compare what projects resolve to on the hosts of a hub",
    operands: "list [HOST...] | diff [HOST...]",
    min: 1,
    max: 1000,
    words: ["list", "diff"],
    options: [...CLIENT],
    details: [
      "Of links with the key install. diff names what a host has missing, extra, or of another version or content than " +
        "most have; hosts that are the same are told together. Exit: 0 no difference, 1 differences.",
    ],
    examples: ["syncline deps diff --token-file token"],
  },
  holds: {
    summary: "list plans that the brake has stopped and that wait for a person",
    operands: "",
    min: 0,
    max: 0,
    options: [...CLIENT],
    details: ["With --verbose every path. Exit: 0 none waits, 2 one does."],
  },
  approve: {
    summary: "let exactly one held plan be carried out",
    operands: "LINK HOST HASH",
    min: 3,
    max: 3,
    options: ["yes", ...CLIENT],
    details: ["It shows the plan and asks. When another plan is held there by now, nothing is done."],
  },
} as const;
