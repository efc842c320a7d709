/** `syncline doctor`: looks at everything that commonly goes wrong on a host, and says what to do about it. */
import { resolve } from "node:path";
import type { Command } from "#cli/context.ts";
import { isAddress, openHost } from "#cli/engine.ts";
import { EXIT } from "#cli/exit-code.ts";
import { padEnd, plural } from "#cli/format.ts";
import { type Finding, checkClock, checkPath, checkSystem } from "#cli/health.ts";
import { usage } from "#cli/values.ts";
import { printablePath } from "#model/path.ts";

export const doctorCommand: Command = async (context) => {
  const { output, parsed } = context;
  const host = await openHost();
  const stateDir = context.stateDir();
  const findings: Finding[] = [...checkSystem(host), ...checkClock(host, stateDir)];
  findings.push(...checkPath(host, stateDir, "state directory", context.signal));
  for (const path of parsed.operands) {
    if (isAddress(path)) throw usage(`doctor looks at this host, and "${path}" is on another`, "run syncline doctor there");
  }
  for (const path of parsed.operands)
    findings.push(...checkPath(host, resolve(path), printablePath(path), context.signal));
  const { green, yellow, bold, dim } = output.screen.paint;
  const attention = findings.filter((one) => one.status === "attention");
  for (const one of findings) output.event({ type: "finding", ...one });
  output.event({ type: "doctor", findings: findings.length, attention: attention.length });
  const width = Math.max(...findings.map((one) => one.check.length));
  let subject = "";
  for (const one of findings) {
    if (one.subject !== subject) output.line(bold(one.subject));
    subject = one.subject;
    const mark =
      one.status === "ok" ? green("ok  ") : one.status === "attention" ? yellow("look") : dim("info");
    output.line(`  ${mark}  ${padEnd(one.check, width)}  ${one.detail}`);
    if (one.advice !== undefined) output.line(`        ${padEnd("", width)}→ ${one.advice}`);
  }
  output.line(
    attention.length === 0
      ? green("All is well.")
      : yellow(
          `${plural(attention.length, "point")} ${attention.length === 1 ? "needs" : "need"} attention.`,
        ),
  );
  return attention.length === 0 ? EXIT.same : EXIT.problems;
};
