/** `syncline profile`: where the time or the memory of a hub goes. */
import { printablePath } from "#model/path.ts";
import type { Command } from "#cli/context.ts";
import { EXIT } from "#cli/exit-code.ts";
import { formatBytes } from "#cli/format.ts";
import { openClient } from "#cli/hub-client.ts";
import { parseChoice, usage } from "#cli/values.ts";
import { writePrivately } from "#cli/local-files.ts";

export const profileCommand: Command = async (context) => {
  const { output, parsed } = context;
  const [word, file] = parsed.operands as readonly [string, string];
  const kind = parseChoice(word, ["cpu", "heap"]);
  const { seconds = "10" } = parsed.given;
  if (!/^\d{1,3}$/.test(seconds)) throw usage(`--seconds: "${seconds}" is no count`);
  const query = kind === "cpu" ? { seconds } : {};
  const pieces = openClient(context).bytes(`/v1/profiles/${kind}`, { method: "POST", query });
  const bytes = await writePrivately(file, pieces);
  output.event({ type: "profile", kind, file, bytes });
  output.line(`wrote ${printablePath(file)}, ${formatBytes(bytes)}`);
  return EXIT.same;
};
