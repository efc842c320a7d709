/** The checks behind `syncline doctor`. Each returns findings; none throws for what it looks at. */
import { messageOf } from "#model/error.ts";
import type { Host } from "#platform/host.ts";
import { Confined } from "#platform/confined.ts";
import { type Fd, type FileSystemAbilities, FsError } from "#platform/file-system.ts";
import { formatBytes, formatCount, formatSeconds } from "#cli/format.ts";
import { readIfThere } from "#cli/local-files.ts";
import { joinPath } from "#model/path.ts";

export type Finding = {
  /** What it is about: "this host", a path. */
  readonly subject: string;
  readonly check: string;
  /** `info` is neither good nor bad. */
  readonly status: "ok" | "attention" | "info";
  readonly detail: string;
  /** What to do; always given with `attention`. */
  readonly advice?: string | undefined;
};

/** Directories counted at most for the comparison with the limit of watches. */
const DIRECTORIES_MAX = 2_000_000;
/** Fewer watches are soon used up by one checkout of a larger project. */
const WATCHES_WANTED = 65_536;
const OPEN_FILES_WANTED = 1024;
/** Two seconds are the granularity of FAT, and more than any honest delay. */
const CLOCK_OFF_MS_MAX = 2000;
const FREE_BYTES_WANTED = 1 << 30;
const FREE_PART_WANTED = 0.02;
/** 2024-01-01; the program is younger. */
const CLOCK_MS_MIN = 1_704_067_200_000;

const HOST = "this host";

/** @param read reads a file of /proc; undefined where it is not there */
export function checkSystem(host: Host, read: (file: string) => string | undefined = readIfThere): Finding[] {
  const findings: Finding[] = [];
  findings.push({
    subject: HOST,
    check: "platform",
    status: "info",
    detail: `${process.platform}-${process.arch}, ${host.fs.platform} file system calls`,
  });
  if (host.watch === undefined) {
    findings.push({
      subject: HOST,
      check: "watching",
      status: "attention",
      detail: "changes cannot be watched here; directories are scanned on a timer",
      advice: "choose the interval with --rescan-every",
    });
  } else findings.push(...checkInotify(read));
  const limits = /^Max open files\s+(\d+|unlimited)\s/m.exec(read("/proc/self/limits") ?? "")?.[1];
  if (limits !== undefined) {
    const files = limits === "unlimited" ? Number.POSITIVE_INFINITY : Number(limits);
    findings.push(
      files >= OPEN_FILES_WANTED
        ? { subject: HOST, check: "open files", status: "ok", detail: `${limits} allowed` }
        : {
            subject: HOST,
            check: "open files",
            status: "attention",
            detail: `only ${limits} allowed`,
            advice: `ulimit -n ${OPEN_FILES_WANTED * 4}, or LimitNOFILE= in the unit`,
          },
    );
  }
  const ssh = Bun.which("ssh");
  findings.push(
    ssh === null
      ? {
          subject: HOST,
          check: "ssh",
          status: "attention",
          detail: "not found; ssh:// sides need it",
          advice: "apt-get install openssh-client (or name another with --ssh)",
        }
      : { subject: HOST, check: "ssh", status: "ok", detail: ssh },
  );
  return findings;
}

function checkInotify(read: (file: string) => string | undefined): Finding[] {
  const findings: Finding[] = [];
  const number = (name: string): number | undefined => {
    const text = read(`/proc/sys/fs/inotify/${name}`);
    return text === undefined ? undefined : Number(text);
  };
  const watches = number("max_user_watches");
  if (watches !== undefined) {
    findings.push(
      watches >= WATCHES_WANTED
        ? {
            subject: HOST,
            check: "inotify watches",
            status: "ok",
            detail: `${formatCount(watches)} directories can be watched`,
          }
        : {
            subject: HOST,
            check: "inotify watches",
            status: "attention",
            detail: `only ${formatCount(watches)} directories can be watched`,
            advice: sysctl("max_user_watches", 524_288),
          },
    );
  }
  const instances = number("max_user_instances");
  if (instances !== undefined) {
    findings.push(
      instances >= 64
        ? {
            subject: HOST,
            check: "inotify queues",
            status: "ok",
            detail: `${formatCount(instances)} for this user`,
          }
        : {
            subject: HOST,
            check: "inotify queues",
            status: "attention",
            detail: `only ${instances} for this user`,
            advice: sysctl("max_user_instances", 512),
          },
    );
  }
  const events = number("max_queued_events");
  if (events !== undefined) {
    findings.push(
      events >= 16_384
        ? { subject: HOST, check: "inotify events", status: "ok", detail: `${formatCount(events)} can wait` }
        : {
            subject: HOST,
            check: "inotify events",
            status: "attention",
            detail: `only ${formatCount(events)} can wait; bursts force rescans`,
            advice: sysctl("max_queued_events", 65_536),
          },
    );
  }
  return findings;
}

function sysctl(name: string, value: number): string {
  return `sysctl fs.inotify.${name}=${value}, and the same in /etc/sysctl.d/60-syncline.conf to keep it`;
}

/** The clock against reason, and against the time that the file system of `dir` writes. */
export function checkClock(host: Host, dir: string): Finding[] {
  const nowMs = host.clock.nowMs();
  if (nowMs < CLOCK_MS_MIN) {
    return [
      {
        subject: HOST,
        check: "clock",
        status: "attention",
        detail: `it says ${new Date(nowMs).toISOString()}`,
        advice: "set the clock and keep it with NTP (chrony or systemd-timesyncd)",
      },
    ];
  }
  let root: Fd | undefined;
  try {
    root = host.fs.openRoot(dir);
    const name = `.clock-${process.pid}`;
    const probe = host.fs.create(root, name, 0o600);
    const offMs = Number(host.fs.fstat(probe).mtimeNs / 1_000_000n) - host.clock.nowMs();
    host.fs.close(probe);
    host.fs.unlink(root, name);
    if (Math.abs(offMs) > CLOCK_OFF_MS_MAX) {
      return [
        {
          subject: HOST,
          check: "clock",
          status: "attention",
          detail: `the file system's time is ${formatSeconds(Math.abs(offMs) / 1000)} ${offMs > 0 ? "ahead" : "behind"}`,
          advice: "synchronise the file server's clock and this one with NTP",
        },
      ];
    }
    return [{ subject: HOST, check: "clock", status: "ok", detail: "agrees with the file system's" }];
  } catch (error) {
    return [
      {
        subject: HOST,
        check: "clock",
        status: "info",
        detail: `not compared with the file system's: ${messageOf(error)}`,
      },
    ];
  } finally {
    if (root !== undefined) host.fs.close(root);
  }
}

/** Abilities, space and number of directories of one path. */
export function checkPath(host: Host, path: string, subject: string, signal: AbortSignal): Finding[] {
  let root: Fd;
  try {
    root = host.fs.openRoot(path);
  } catch (error) {
    return [
      {
        subject,
        check: "directory",
        status: "attention",
        detail: messageOf(error),
        advice: `check that ${path} exists and can be read`,
      },
    ];
  }
  using confined = new Confined(host.fs, root);
  const findings: Finding[] = [];
  try {
    findings.push(...abilityFindings(host.fs.abilities(root, true), subject));
  } catch (error) {
    findings.push({
      subject,
      check: "abilities",
      status: "info",
      detail: `not tried, nothing can be written here: ${messageOf(error)}`,
    });
  }
  findings.push(...spaceFindings(host, root, subject));
  if (host.watch !== undefined) findings.push(watchFinding(confined, subject, signal));
  return findings;
}

function abilityFindings(abilities: FileSystemAbilities, subject: string): Finding[] {
  const has: string[] = [];
  const lacks: string[] = [];
  for (const name of ["symlinks", "hardlinks", "xattrs", "owners", "modes"] as const)
    (abilities[name] ? has : lacks).push(name);
  const findings: Finding[] = [];
  if (has.length > 0) findings.push({ subject, check: "keeps", status: "ok", detail: has.join(", ") });
  if (lacks.length > 0) {
    const minus = lacks.filter(
      (name) => name !== "owners" && name !== "modes" && name !== "hardlinks" && name !== "xattrs",
    );
    findings.push({
      subject,
      check: "cannot keep",
      status: "info",
      detail: `${lacks.join(", ")}${minus.length > 0 ? "; leave them out with --preserve" : ""}`,
    });
  }
  const coarse = abilities.timestampNs > 1_000_000n;
  findings.push({
    subject,
    check: "file times",
    status: coarse ? "info" : "ok",
    detail: `kept to ${abilities.timestampNs === 1n ? "the nanosecond" : formatSeconds(Number(abilities.timestampNs) / 1e9)}`,
  });
  if (!abilities.caseSensitive) {
    findings.push({
      subject,
      check: "names",
      status: "info",
      detail: "capital and small letters are the same here: names that differ only so cannot both exist",
    });
  }
  findings.push(
    abilities.confined
      ? { subject, check: "confinement", status: "ok", detail: "no symlink can lead a change outside" }
      : {
          subject,
          check: "confinement",
          status: "info",
          detail: "paths are checked, but another process could swap a directory meanwhile",
        },
  );
  return findings;
}

function spaceFindings(host: Host, root: Fd, subject: string): Finding[] {
  const { freeBytes, totalBytes, freeInodes, type } = host.fs.space(root);
  const tight = freeBytes < FREE_BYTES_WANTED || freeBytes < totalBytes * FREE_PART_WANTED;
  const detail = `${formatBytes(freeBytes)} of ${formatBytes(totalBytes)} free (${type})`;
  const findings: Finding[] = [
    tight
      ? {
          subject,
          check: "space",
          status: "attention",
          detail,
          advice: "make room: changed files are staged beside the old ones, which are kept for undo",
        }
      : { subject, check: "space", status: "ok", detail },
  ];
  // File systems without fixed inodes say 0 free of 0.
  if (freeInodes > 0 && freeInodes < 10_000) {
    findings.push({
      subject,
      check: "inodes",
      status: "attention",
      detail: `${formatCount(freeInodes)} left`,
      advice: "remove small files, or make the file system anew with more inodes",
    });
  }
  return findings;
}

function watchFinding(confined: Confined, subject: string, signal: AbortSignal): Finding {
  const directories = countDirectories(confined, signal);
  const limit = Number(readIfThere("/proc/sys/fs/inotify/max_user_watches") ?? Number.POSITIVE_INFINITY);
  const count =
    directories >= DIRECTORIES_MAX ? `more than ${formatCount(DIRECTORIES_MAX)}` : formatCount(directories);
  // Other programs of the same user need watches, too.
  if (directories <= limit * 0.8)
    return { subject, check: "directories", status: "ok", detail: `${count}, watches suffice` };
  return {
    subject,
    check: "directories",
    status: "attention",
    detail: `${count}, but only ${formatCount(limit)} can be watched`,
    advice: sysctl("max_user_watches", 2 ** Math.ceil(Math.log2(Math.max(WATCHES_WANTED, directories * 2)))),
  };
}

/** The directory itself counts. What cannot be read is passed over. */
function countDirectories(confined: Confined, signal: AbortSignal): number {
  const waiting = [""];
  let count = 0;
  for (
    let dir = waiting.pop();
    dir !== undefined && count < DIRECTORIES_MAX && !signal.aborted;
    dir = waiting.pop()
  ) {
    count++;
    try {
      for (const item of confined.list(dir)) if (item.kind === "dir") waiting.push(joinPath(dir, item.name));
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
    }
  }
  return count;
}
