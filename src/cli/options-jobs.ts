/** What of the command line is about jobs; options.ts takes it into its table. */
import { JOB_STATES, PRIORITY_NAMES } from "#jobs/job.ts";
import { MISFIRES, OVERLAPS } from "#jobs/schedule.ts";

const CLIENT = ["hub", "token-file", "ca", "json", "quiet", "verbose", "state-dir", "help"] as const;

export const JOB_OPTIONS = {
  state: { type: "choice", choices: JOB_STATES, lineOnly: true, help: "only jobs in this state" },
  kind: { type: "text", value: "KIND", lineOnly: true, help: "only jobs of this kind" },
  priority: { type: "choice", choices: PRIORITY_NAMES, lineOnly: true, help: "how urgent; otherwise as its kind is" },
  wait: { type: "flag", lineOnly: true, help: "follow the job until it is over" },
  zone: { type: "text", value: "ZONE", lineOnly: true, fallback: "UTC", help: "time zone of the schedule" },
  misfire: { type: "choice", choices: MISFIRES, lineOnly: true, fallback: "run-once", help: "times when no hub was there" },
  "catch-up": { type: "text", value: "N", lineOnly: true, fallback: "1", help: "with --misfire catch-up: the latest N" },
  overlap: { type: "choice", choices: OVERLAPS, lineOnly: true, fallback: "forbid", help: "while a job of it is not over" },
  spread: { type: "duration", lineOnly: true, fallback: "0", help: "put each time off by a draw up to this" },
} as const;

export const JOB_COMMANDS = {
  jobs: {
    summary: "list, begin, explain, cancel and retry the jobs of a hub",
    operands: "list | show ID | run KIND [KEY=VALUE...] | explain ID | cancel ID | retry ID",
    min: 1,
    max: 32,
    words: ["list", "show", "run", "explain", "cancel", "retry"],
    options: ["state", "kind", "limit", "priority", "wait", ...CLIENT],
    details: [
      "Kinds: scrub [bytes=SIZE] [fromStart=true], prune [share=80%], expire, restore space=NAME to=POINT [path=PATH] " +
        "[message=TEXT], check [deep=true], backup directory=DIR, rescan host=HOST link=ID, import and export " +
        "space=NAME url=URL [prefix=PATH] [mode=add-only|mirror] [approve=HASH] [anew=true].",
      "URL is s3://BUCKET[/PREFIX][?endpoint=…], ftp://, ftps:// or sftp://[USER@]HOST/PATH, without a password: keys and " +
        "passwords are in the file that foreignCredentials in the hub's configuration names, and foreignHosts says where it " +
        "may go. add-only brings what is new or changed in the source and deletes nothing; what was changed in the target " +
        "stays. mirror makes the target the same; a mirror that would remove much fails and tells the approve=HASH for it.",
      "A job goes on where it was after a crash of the hub. retry begins one again that failed or was cancelled, from " +
        "where it had come; of one that waits for its next try it is the next try.",
      "explain says why a job waits, for what, and how long others can go before it. A prune that would free more than " +
        "half of the store fails unless share says how much may go.",
      "Exit of --wait: 0 done, 1 failed or cancelled.",
    ],
    examples: [
      "syncline jobs list --state failed",
      "syncline jobs run restore space=site path=docs to=@friday --wait",
      "syncline jobs run import space=site prefix=scans url=ftps://me@nas.example.com/scans --wait",
      "syncline jobs explain 41",
    ],
  },
  schedules: {
    summary: "list, make and change the times at which a hub begins jobs by itself",
    operands: "list | show NAME | put NAME CRON KIND [KEY=VALUE...] | enable NAME | disable NAME | run NAME | remove NAME",
    min: 1,
    max: 32,
    words: ["list", "show", "put", "enable", "disable", "run", "remove"],
    options: ["zone", "misfire", "catch-up", "overlap", "spread", "priority", "wait", ...CLIENT],
    details: [
      "CRON is minute, hour, day, month and weekday, or @hourly, @daily, @weekly, @monthly. KIND and KEY=VALUE are as in " +
        "syncline help jobs. Jobs of a schedule act for who put it last.",
      "expire, prune and scrub are the hub's own: they can be changed and disabled, not removed.",
    ],
    examples: [
      'syncline schedules put nightly "30 2 * * *" backup directory=/backup/hub --zone Europe/Berlin --spread 10m',
      "syncline schedules put offsite @daily export space=site url=s3://backups/site mode=mirror",
      "syncline schedules disable scrub",
    ],
  },
} as const;
