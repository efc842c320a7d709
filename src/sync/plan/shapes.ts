/**
 * Shapes: numbers that are equal for subtrees with equal names, kinds and contents, whatever their metadata. Made by
 * interning the text of each entry with those of its children, bottom-up, so equality is exact and costs one lookup.
 */
import type { Entry, Preserve } from "#model/entry.ts";
import { isWithin, nameOf, parentOf } from "#model/path.ts";
import type { Change } from "#model/plan.ts";

/** A removed or created entry in a list in path order; its subtree is the `size` items from it on. */
export type ShapeItem = {
  readonly change: Change;
  readonly entry: Entry;
  size: number;
  /** 0: like nothing else. */
  shape: number;
  /** Is there a file with bytes in it? */
  bytes: boolean;
  used: boolean;
  /** Text of the entry and its children while it is measured; undefined when it is like nothing else. */
  text: string | undefined;
};

export function shapeItem(change: Change, entry: Entry, preserve: Preserve): ShapeItem {
  const bytes = entry.kind === "file" && entry.size > 0;
  return { change, entry, size: 1, shape: 0, bytes, used: false, text: leafText(entry, preserve) };
}

/** Text that is equal for equal content of one entry; undefined where its content is not known. */
function leafText(entry: Entry, preserve: Preserve): string | undefined {
  if (entry.kind === "dir") return "d";
  if (entry.kind === "symlink") return `l${entry.target}`;
  if (entry.kind === "other" || (entry.sum === undefined && entry.size > 0)) return undefined;
  // The member of a hard-link group names its leader's path, which does not survive a move.
  if (preserve.hardlinks && entry.linkTo !== undefined) return undefined;
  return entry.size === 0 ? "f0" : `f${entry.size}:${entry.sum}`;
}

/** Sets size, shape and bytes of both lists. A created item gets a shape only if a removed one has the same. */
export function measureShapes(removed: readonly ShapeItem[], created: readonly ShapeItem[]): void {
  const shapes = new Map<string, number>();
  measure(removed, (text) => {
    const shape = shapes.get(text) ?? shapes.size + 1;
    shapes.set(text, shape);
    return shape;
  });
  measure(created, (text) => shapes.get(text) ?? 0);
}

function measure(items: readonly ShapeItem[], shapeOf: (text: string) => number): void {
  const open: number[] = [];
  const close = (end: number) => {
    const at = open.pop()!;
    const closed = items[at]!;
    closed.size = end - at;
    closed.shape = closed.text === undefined ? 0 : shapeOf(closed.text);
    closed.text = undefined;
    const parent = items[open.at(-1) ?? -1];
    if (parent === undefined) return;
    parent.bytes ||= closed.bytes;
    const { path } = closed.change;
    // With a directory between the two that is not in the list the parent is not one whole.
    const whole = closed.shape !== 0 && parentOf(path) === parent.change.path;
    // Names hold no "/", so the text cannot be read in two ways.
    if (whole && parent.text !== undefined) parent.text += `/${closed.shape}:${nameOf(path)}`;
    else parent.text = undefined;
  };
  for (let at = 0; at < items.length; at++) {
    const { path } = items[at]!.change;
    while (open.length > 0 && !isWithin(path, items[open.at(-1)!]!.change.path)) close(at);
    open.push(at);
  }
  while (open.length > 0) close(items.length);
}
