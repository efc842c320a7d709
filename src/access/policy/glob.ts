/** Patterns of policies: "*" stands for any text, "?" for one character. Pure; time is at most text times pattern. */

/** Is the whole text what the pattern says? */
export function matchesGlob(pattern: string, text: string): boolean {
  let at = 0;
  let star = -1;
  let resume = 0;
  for (let read = 0; read < text.length; ) {
    const char = pattern[at];
    if (char === "*") {
      star = at++;
      resume = read;
    } else if (char !== undefined && (char === "?" || char === text[read])) {
      at++;
      read++;
    } else if (star >= 0) {
      // The last star takes one more; those before it need not be tried again.
      at = star + 1;
      read = ++resume;
    } else return false;
  }
  while (pattern[at] === "*") at++;
  return at === pattern.length;
}

/** A text that begins with this one and is what the pattern says; undefined: there is none. */
export function exampleBelow(pattern: string, start: string): string | undefined {
  let places = reached(pattern, [0]);
  for (let at = 0; at < start.length; at++) {
    const char = start[at];
    const next: number[] = [];
    for (const place of places) {
      const wanted = pattern[place];
      if (wanted === "*") next.push(place);
      else if (wanted === "?" || wanted === char) next.push(place + 1);
    }
    if (next.length === 0) return undefined;
    places = reached(pattern, next);
  }
  const rest = pattern.slice(Math.max(...places));
  return start + rest.replaceAll("*", "").replaceAll("?", "x");
}

/** The places in a pattern, and those that follow without any text. */
function reached(pattern: string, places: readonly number[]): Set<number> {
  const all = new Set<number>();
  for (let place of places) {
    all.add(place);
    while (pattern[place] === "*") all.add(++place);
  }
  return all;
}

/** Is the text, and everything that begins with it and "/", what the pattern says? */
export function coversTree(pattern: string, text: string): boolean {
  return pattern.endsWith("*") && matchesGlob(pattern, text) && (text === "" || matchesGlob(pattern, `${text}/`));
}
