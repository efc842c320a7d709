/** `syncline role`: what roles allow. */
import { readRoleList } from "#access/roles-file.ts";
import { AccessClient } from "#gateway/client/access-client.ts";
import type { Command, Context } from "#cli/context.ts";
import { EXIT } from "#cli/exit-code.ts";
import { openClient } from "#cli/hub-client.ts";
import { readSmallFileOrInput } from "#cli/local-files.ts";
import { roleFacts, roleLines } from "#cli/people-text.ts";
import { confirmed } from "#cli/question.ts";
import { parseChoice, usage } from "#cli/values.ts";

export const roleCommand: Command = async (context) => {
  const { output, parsed } = context;
  const [word, name] = parsed.operands;
  const what = parseChoice(word!, ["list", "show", "put", "delete"]);
  if ((what === "list") !== (name === undefined)) {
    throw usage(name === undefined ? (what === "put" ? "which file?" : "which role?") : `"${name}" is too much for list`);
  }
  const client = new AccessClient(openClient(context));
  const { paint } = output.screen;
  if (name === undefined) {
    const roles = await client.roles();
    for (const role of roles) output.event({ type: "role", ...role });
    if (!output.form.json) output.answer(roleLines(roles, paint).join("\n"));
  } else if (what === "show") {
    const role = await client.role(name);
    output.event({ type: "role", ...role });
    if (!output.form.json) output.answer(roleFacts(role, paint).join("\n"));
  } else if (what === "put") await put(context, client, name);
  else {
    await confirmed(context, `delete the role ${name}? Whoever has it may then do nothing by it.`);
    await client.deleteRole(name);
    output.event({ type: "role-deleted", name });
    output.line(`deleted ${name}`);
  }
  return EXIT.same;
};

/** The whole file is right before any of it is sent; what others include goes first. */
async function put({ output }: Context, client: AccessClient, file: string): Promise<void> {
  const roles = readRoleList(await readSmallFileOrInput("role put", file), file === "-" ? "standard input" : file);
  const waiting = new Map(roles.map((role) => [role.name, role]));
  while (waiting.size > 0) {
    const next = [...waiting.values()].find(({ includes }) => !includes.some((name) => waiting.has(name)));
    if (next === undefined) throw usage(`${file}: roles include each other: ${[...waiting.keys()].join(", ")}`);
    waiting.delete(next.name);
    const { name, includes, rules } = next;
    const role = await client.putRole(name, { includes: [...includes], rules });
    output.event({ type: "role", ...role });
    if (!output.form.json) output.answer(roleFacts(role, output.screen.paint).join("\n"));
  }
}
