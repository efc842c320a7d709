/** A link as a person writes it: ROOT=SPACE[:PREFIX][,KEY=VALUE...]. */
import { resolve } from "node:path";
import { SynclineError } from "#model/error.ts";
import { parseRate, usage } from "#cli/values.ts";
import { DECLARED_LINK, type DeclaredLink, LINK_SETTINGS, checked } from "#hub/agents/link.ts";

const OPTION = /,(mode|from|settle|conflict|bwlimit|ignore|window)=([^,]*)$/;
const FORM = "write ROOT=SPACE[:PREFIX][,mode=…,settle=…], like /srv/site=demo:site,settle=immediate";

/**
 * Options are taken off the end, one by one, and SPACE is what follows the last "=" before them: a root may hold "=" and
 * "," itself.
 * @throws {SynclineError} USAGE
 */
export function parseLink(text: string): DeclaredLink {
  const settings: Record<string, unknown> = {};
  const lists: Record<"ignore" | "windows", string[]> = { ignore: [], windows: [] };
  let rest = text;
  for (let match = OPTION.exec(rest); match !== null; match = OPTION.exec(rest)) {
    const [whole, key, value] = match as unknown as [string, string, string];
    rest = rest.slice(0, -whole.length);
    if (key === "ignore") lists.ignore.unshift(value);
    else if (key === "window") lists.windows.unshift(value);
    else if (key in settings) throw usage(`--link: ${key} is given twice`);
    else settings[key] = value;
  }
  const word = /,([a-z]+)=[^,=/]*$/.exec(rest)?.[1];
  if (word !== undefined) {
    throw usage(`--link: unknown option "${word}"`, "there are mode, from, settle, conflict, bwlimit, ignore and window");
  }
  const equals = rest.lastIndexOf("=");
  if (equals <= 0) throw usage(`--link: "${text}" does not say which space`, FORM);
  const [space = "", ...prefix] = rest.slice(equals + 1).split(":");
  const { bwlimit, ...others } = settings;
  const all = { ...others, ...lists, ...(typeof bwlimit === "string" ? { bytesPerSecond: parseRate(bwlimit) } : {}) };
  try {
    return checked(
      DECLARED_LINK,
      {
        root: resolve(rest.slice(0, equals)),
        space,
        prefix: prefix.join(":").replace(/^\/+|\/+$/g, ""),
        settings: checked(LINK_SETTINGS, all, "settings"),
      },
      "--link",
    );
  } catch (error) {
    if (error instanceof SynclineError) throw usage(`--link: ${error.message.replace(/^--link: /, "")}`, FORM);
    throw error;
  }
}
