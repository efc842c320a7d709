/** Addresses of memory that are kept, for system calls that come again and again. */
import { type Pointer, ptr } from "bun:ffi";

/**
 * The address of the view's byte `at`, for as long as the view lives.
 *
 * JavaScriptCore keeps the bytes of a typed array of up to 1000 in a cell of its heap, until somebody asks for its
 * `buffer`: then they move into one, and the cell is free. The optimizing compiler asks by itself, for a view that it
 * takes for a constant. The kernel would then go on writing into what belongs to others, and reading what nobody writes
 * any more. Asked for here first, the bytes never move again. ptr() alone is for addresses that the next call uses up.
 */
export function heldAddress(view: NodeJS.TypedArray, at = 0): Pointer {
  const { buffer, byteOffset } = view;
  return ptr(buffer, byteOffset + at);
}
