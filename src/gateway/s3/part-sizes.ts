/** Sizes of the parts of an object, as a short text: runs of the same size, "5242880x3,100". Pure. */

export function partSizesText(sizes: readonly number[]): string {
  const runs: { size: number; count: number }[] = [];
  for (const size of sizes) {
    const last = runs.at(-1);
    if (last?.size === size) last.count++;
    else runs.push({ size, count: 1 });
  }
  return runs.map(({ size, count }) => (count === 1 ? `${size}` : `${size}x${count}`)).join(",");
}

/** What does not add up to the size is not believed: then it is one part. */
export function partSizes(text: string | undefined, size: number): number[] {
  const sizes: number[] = [];
  for (const run of text === undefined ? [] : text.split(",")) {
    const [one, count = "1"] = run.split("x");
    if (Number(count) > 10_000 || sizes.length > 10_000) return [size];
    for (let at = 0; at < Number(count); at++) sizes.push(Number(one));
  }
  return sizes.reduce((sum, one) => sum + one, 0) === size && sizes.length > 0 ? sizes : [size];
}
