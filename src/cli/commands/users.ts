/** `syncline user` and `syncline group`: who exists, and with which roles. */
import { AccessClient, type UserChangeJson } from "#gateway/client/access-client.ts";
import type { GroupJson, UserJson } from "#gateway/api/routes-access.ts";
import type { Command, Context } from "#cli/context.ts";
import { EXIT } from "#cli/exit-code.ts";
import { plural } from "#cli/format.ts";
import { openClient } from "#cli/hub-client.ts";
import { newPassword, oldPassword } from "#cli/passwords.ts";
import { groupLines, userFacts, userLines } from "#cli/people-text.ts";
import { confirmed } from "#cli/question.ts";
import { warnOfUnknownRoles } from "#cli/unknown-roles.ts";
import { parseChoice, usage } from "#cli/values.ts";

const USER_WORDS = ["list", "show", "create", "set", "disable", "enable", "delete", "password"];
const GROUP_WORDS = ["list", "show", "create", "set", "delete", "add", "remove"];

export const userCommand: Command = async (context) => {
  const { parsed, output } = context;
  const [word, name] = parsed.operands;
  const what = parseChoice(word!, USER_WORDS);
  refuseRoles(context, what === "create" || what === "set");
  const client = new AccessClient(openClient(context));
  if (what === "password") await password(context, client, name);
  else if (what === "list") {
    if (name !== undefined) throw usage(`"${name}" is too much for list`);
    await list(context, client);
  } else if (name === undefined) throw usage("which user?", "syncline user list shows them");
  else if (what === "delete") {
    await confirmed(context, `delete the user ${name} with all tokens, keys and sessions?`);
    await client.deleteUser(name);
    output.event({ type: "user-deleted", name });
    output.line(`deleted ${name}`);
  } else {
    const user = await changed(context, client, what, name);
    output.event({ type: "user", ...user });
    if (!output.form.json) output.answer(userFacts(user, Date.now(), output.screen.paint).join("\n"));
    await warnOfUnknownRoles(output, client, listOf(parsed.given.role));
  }
  return EXIT.same;
};

async function list({ output }: Context, client: AccessClient): Promise<void> {
  const users: UserJson[] = [];
  for await (const user of client.users()) {
    users.push(user);
    output.event({ type: "user", ...user });
  }
  if (!output.form.json) output.answer(userLines(users, output.screen.paint).join("\n"));
}

async function changed(context: Context, client: AccessClient, what: string, name: string): Promise<UserJson> {
  const { given } = context.parsed;
  const oidc = given.oidc === undefined ? undefined : given.oidc === "yes";
  const lists: UserChangeJson = { roles: listOf(given.role), groups: listOf(given.group), oidc };
  switch (what) {
    case "create":
      // Who comes through the identity provider needs none.
      return client.createUser(name, {
        ...lists,
        ...(oidc === true ? {} : { password: await newPassword(context, `password of ${name} (none: empty)`) }),
      });
    case "set":
      if (Object.values(lists).every((value) => value === undefined)) {
        throw usage("what is to change?", "--role ROLE, --group GROUP, --oidc yes|no");
      }
      return client.updateUser(name, lists);
    case "disable":
    case "enable":
      return client.updateUser(name, { disabled: what === "disable" });
    default:
      return client.user(name);
  }
}

/** One's own takes the old one; that of others only the right to set it. */
async function password(context: Context, client: AccessClient, name: string | undefined): Promise<void> {
  const { output } = context;
  if (name === undefined) {
    const old = await oldPassword(context);
    const next = await newPassword(context, "new password");
    if (next === undefined) throw usage("no new password", "--password-file FILE holds it");
    await client.changeOwnPassword(old, next);
  } else {
    const next = await newPassword(context, `new password of ${name}`);
    if (next === undefined) throw usage("no new password", "--password-file FILE holds it");
    await client.updateUser(name, { password: next });
  }
  output.event({ type: "password-changed", user: name });
  output.line("the new password counts; all sessions have ended");
}

/** What was given more than once; "none" stands for none at all. */
function listOf(given: readonly string[] | undefined): readonly string[] | undefined {
  return given?.length === 1 && given[0] === "none" ? [] : given;
}

/** What is given for nothing is a mistake about what the command does. */
function refuseRoles({ parsed }: Context, isTaken: boolean): void {
  if (isTaken) return;
  for (const option of ["role", "group", "oidc"] as const) {
    if (parsed.given[option] !== undefined) throw usage(`--${option} is for create and set`);
  }
}

export const groupCommand: Command = async (context) => {
  const { output, parsed } = context;
  const [word, name, user] = parsed.operands;
  const what = parseChoice(word!, GROUP_WORDS);
  refuseRoles(context, what === "create" || what === "set");
  const isMembership = what === "add" || what === "remove";
  if (isMembership !== (user !== undefined)) throw usage(isMembership ? "which user?" : `"${user}" is too much for ${what}`);
  if ((what === "list") !== (name === undefined)) throw usage(name === undefined ? "which group?" : `"${name}" is too much for list`);
  const client = new AccessClient(openClient(context));
  if (name === undefined) return listGroups(context, client);
  const roles = listOf(parsed.given.role);
  if (what === "show") await showGroup(context, client, name);
  else if (what === "create") await client.createGroup(name, roles ?? []);
  else if (what === "set") {
    if (roles === undefined) throw usage("what is to change?", "--role ROLE");
    await client.updateGroup(name, roles);
  } else if (what === "delete") {
    await confirmed(context, `delete the group ${name}? Its members lose its roles.`);
    await client.deleteGroup(name);
    output.event({ type: "group-deleted", name });
    output.line(`deleted ${name}`);
  } else await client.setMember(name, user!, what === "add");
  if (what !== "delete" && what !== "show") await showGroup(context, client, name);
  await warnOfUnknownRoles(output, client, roles);
  return EXIT.same;
};

async function listGroups({ output }: Context, client: AccessClient): Promise<number> {
  const groups: GroupJson[] = [];
  for await (const group of client.groups()) {
    groups.push(group);
    output.event({ type: "group", ...group });
  }
  if (groups.length === 0) output.line("no group yet: syncline group create NAME --role ROLE");
  else if (!output.form.json) output.answer(groupLines(groups, output.screen.paint).join("\n"));
  return EXIT.same;
}

async function showGroup({ output }: Context, client: AccessClient, name: string): Promise<void> {
  const group = await client.group(name);
  const members: string[] = [];
  for await (const member of client.members(name)) members.push(member);
  output.event({ type: "group", ...group, members });
  if (output.form.json) return;
  const who = members.length === 0 ? "nobody is in it" : `${plural(members.length, "member")}: ${members.join(" ")}`;
  output.answer([...groupLines([group], output.screen.paint), `  ${who}`].join("\n"));
}
