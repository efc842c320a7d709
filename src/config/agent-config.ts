/** An agent's configuration file, checked as a whole: every complaint names file, line and key. */
import { z } from "zod";
import { type DeclaredLink, LINKS_PER_HOST_MAX, LINK_SETTINGS, TARGET, settingsFault } from "#hub/agents/link.ts";
import { readYaml } from "#platform/yaml/checked-yaml.ts";
import { OBSERVE_KEYS } from "#config/observe-keys.ts";
import { readDurationMs } from "#config/quantities.ts";

const text = z.string().min(1).max(4096);
const HOOK_MS_MAX = 24 * 3_600_000;

/** As the hub's key of that name. */
const keyText = (key: keyof typeof OBSERVE_KEYS) =>
  z.string().max(4096).regex(OBSERVE_KEYS[key].pattern, `write ${OBSERVE_KEYS[key].grammar}`);

const timeout = z.string().transform((given, context) => {
  const ms = readDurationMs(given);
  if (ms !== undefined && ms >= 1 && ms <= HOOK_MS_MAX) return ms;
  context.addIssue({ code: "custom", message: `"${given}" is no duration; write it like 60s` });
  return z.NEVER;
});

/** Settings beside where it leads, as in a bootstrap file. */
const link = z
  .strictObject({ ...TARGET, prefix: TARGET.prefix.default(""), ...LINK_SETTINGS.shape })
  .transform(({ root, space, prefix, ...settings }, context): DeclaredLink => {
    const fault = settingsFault(settings);
    if (fault !== undefined) context.addIssue({ code: "custom", message: fault });
    return { root, space, prefix, settings };
  });

const FILE = z
  .strictObject({
    hub: text.optional(),
    name: text.optional(),
    data: text.optional(),
    joinTokenFile: text.optional(),
    fingerprint: text.optional(),
    acceptNew: z.boolean().optional(),
    links: z.array(link).max(LINKS_PER_HOST_MAX).optional(),
    /** gitignore-style lines for all links. */
    exclude: z.array(z.string().max(1024)).max(1000).optional(),
    hooks: z
      .strictObject({
        before: text.optional(),
        after: text.optional(),
        timeout: timeout.optional(),
        onAfterFailure: z.enum(["report", "rollback"]).optional(),
      })
      .optional(),
    allowInstall: z.boolean().optional(),
    otlpEndpoint: keyText("otlpEndpoint").optional(),
    otlpHeadersFile: keyText("otlpHeadersFile").optional(),
    traceRatio: z.union([z.number(), z.string()]).transform(String).pipe(keyText("traceRatio")).optional(),
  })
  .nullable()
  .transform((file) => file ?? {});

export type AgentFile = z.infer<typeof FILE>;

/** @throws {SynclineError} USAGE with file, line, column and key of everything that is wrong */
export function readAgentFile(content: string, file: string): AgentFile {
  return readYaml(content, file, FILE) as AgentFile;
}
