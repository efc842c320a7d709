/**
 * Shapes: numbers that are equal for subtrees with equal names, kinds and contents, whatever their metadata. Made by
 * interning the text of each entry with those of its children, bottom-up, so equality is exact and costs one lookup.
 */
import type { Entry, Preserve } from "#model/entry.ts";
import { isWithin } from "#model/path.ts";
import type { Change } from "#model/plan.ts";

/** A removed or created entry in a list in path order; its subtree is the `size` items from it on. */
export type ShapeItem = {
  readonly change: Change;
  /** Position of the change in its plan. */
  readonly position: number;
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

export function shapeItem(change: Change, position: number, entry: Entry, preserve: Preserve): ShapeItem {
  const bytes = entry.kind === "file" && entry.size > 0;
  return { change, position, entry, size: 1, shape: 0, bytes, used: false, text: leafText(entry, preserve) };
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
  let parent: ShapeItem | undefined;
  const finish = (item: ShapeItem) => {
    item.shape = item.text === undefined ? 0 : shapeOf(item.text);
    item.text = undefined;
    if (parent === undefined) return;
    parent.bytes ||= item.bytes;
    // Names hold no "/", so the text cannot be read in two ways.
    const name = item.change.path.slice(parent.change.path.length + 1);
    if (item.shape !== 0 && parent.text !== undefined) parent.text += `/${item.shape}:${name}`;
    else parent.text = undefined;
  };
  const close = (end: number) => {
    const at = open.pop()!;
    const closed = items[at]!;
    closed.size = end - at;
    parent = items[open.at(-1) ?? -1];
    finish(closed);
  };
  for (let at = 0; at < items.length; at++) {
    const item = items[at]!;
    while (parent !== undefined && !isWithin(item.change.path, parent.change.path)) close(at);
    if (item.entry.kind === "dir") {
      open.push(at);
      parent = item;
    } else finish(item);
  }
  while (open.length > 0) close(items.length);
}
