/** Objects of a JSON text in which a name is written twice: parsers keep the last and say nothing. Pure. */

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\]:,]/gs;

/** @param json well-formed JSON @returns the first name that an object has twice */
export function repeatedName(json: string): string | undefined {
  const open: (Set<string> | undefined)[] = [];
  let last: string | undefined;
  for (const [token] of json.matchAll(TOKEN)) {
    if (token === "{") open.push(new Set());
    else if (token === "[") open.push(undefined);
    else if (token === "}" || token === "]") open.pop();
    else if (token === ":") {
      const name = JSON.parse(last!) as string;
      const names = open.at(-1)!;
      if (names.has(name)) return name;
      names.add(name);
    }
    last = token;
  }
  return undefined;
}
