/** Bounds of a transfer. Both ends hold their peer to them. */
import { PIECE_BYTES } from "#sync/chunk/sum.ts";

/** Files that the source works on at the same time: enough to overlap disk, hashing and sending. */
export const FILES_ACTIVE_MAX = 4;
/** Files asked for but not finished; hides the latency of a long line for files of medium size. */
export const FILES_ASKED_MAX = 32;
/**
 * Beyond FILES_ACTIVE_MAX files are asked ahead only while those asked for are smaller than this together.
 */
export const ASKED_BYTES_MAX = 16 << 20;
/** Largest file that is accepted: its leaves take 128 MiB of memory. */
export const FILE_BYTES_MAX = 8 * 2 ** 40;

/** Block sizes of the delta; see blockBytesFor. */
export const BLOCK_BYTES_MIN = 4 << 10;
export const BLOCK_BYTES_MAX = PIECE_BYTES;
/** Blocks offered for one file at most (3 MiB on the wire); what lies behind them is sent again. */
export const BLOCKS_MAX = 1 << 18;
/** Blocks in one message; few, so that the source starts comparing while the destination still hashes. */
export const BLOCKS_PER_MESSAGE = 512;
/** A base smaller than this is not worth its signature. */
export const BASE_BYTES_MIN = 4 << 10;

/** Files similar to the one that is wanted, offered by the destination for one file. */
export const CANDIDATES_MAX = 4;
/** A file smaller than this is sent sooner than similar ones are looked at. */
export const SIMILAR_BYTES_MIN = 1 << 20;
/** Length of a sample of a candidate: as much as an anchor is looked for in. */
export const SAMPLE_BYTES = 4 << 10;
/** Samples of one candidate at most, and how far apart they are at least. */
const SAMPLES_MAX = 1024;
const SAMPLE_STRIDE_MIN = 64 << 10;
/** Bytes of a file in which the source looks for samples: one in so many, within the two bounds. */
export const PROBED_SHARE = 32;
export const PROBED_BYTES_MIN = 1 << 20;
export const PROBED_BYTES_MAX = 32 << 20;
/**
 * After so many files in a row whose candidates were of no use, only large ones are offered any in this transfer: in a
 * directory of photos none is like another.
 */
export const PROBES_IN_VAIN_MAX = 8;
export const PROBE_ALWAYS_BYTES = 64 << 20;

/** Regions in one ASK; also when the walk stops to hear the answers. */
export const REGIONS_PER_ASK = 64;
/** Slices of the regions of one ASK together: their hashes, 6 bytes each, fit one message. */
export const SLICES_PER_ASK = 1 << 17;
/** Regions asked for and not answered. */
export const REGIONS_WAITING_MAX = 1024;
/** Longest region narrowed by hashes of its slices; a longer one is sent whole. */
export const REGION_BYTES_MAX = 2 << 20;
/**
 * Slice sizes, coarse then fine: a small edit in a block costs about 200 bytes of hashes and one fine slice.
 */
export const SLICE_BYTES_COARSE = 8 << 10;
export const SLICE_BYTES_FINE = 512;

/** Bytes of pieces that are being read or sent, over all files of one supply. */
export const SUPPLY_BUFFERS_MAX = 12;
/** Writes that have not settled, over all files of one receive. */
export const WRITES_WAITING_MAX = 6;
/** Written bytes after which the kernel is asked to start writing back, so that the later sync is short. */
export const WRITEBACK_BYTES = 8 << 20;
/** Files of this size and more are written past the page cache where that can be. */
export const UNCACHED_BYTES_MIN = 16 << 20;
/** Pieces that go past the page cache in one write. */
export const UNCACHED_PIECES_MAX = 4;
/** Longest copy out of the base in one op, so that the destination copies while the source still compares. */
export const COPY_BYTES_MAX = 8 << 20;
/** Bytes copied or made zero in the file before everything else in the process has its turn. */
export const BYTES_BETWEEN_TURNS = 32 << 20;
/** Packed ops are sent when they reach this. */
export const OPS_BYTES = 48 << 10;
/** A literal up to this is packed between other ops; a longer one is a message of its own. */
export const SMALL_LITERAL_BYTES = 8 << 10;

/**
 * Block size for a base of `size` bytes: the power of two at or above the root of 16 × size. The signature
 * costs 12 bytes a block and an edit about a block, so both grow with the root (1 GiB: 128 KiB, 64 MiB: 32
 * KiB).
 */
export function blockBytesFor(size: number): number {
  let block = BLOCK_BYTES_MIN;
  while (block < BLOCK_BYTES_MAX && block * block < 16 * size) block *= 2;
  return block;
}

/** Blocks of a file of `size` bytes, the short last one included, as far as they are offered. */
export function blocksIn(size: number, blockBytes: number): number {
  return Math.min(BLOCKS_MAX, Math.ceil(size / blockBytes));
}

/** Distance between the beginnings of two samples of a candidate. */
export function sampleStride(size: number): number {
  return Math.max(SAMPLE_STRIDE_MIN, Math.ceil(size / SAMPLES_MAX));
}

/** Samples of a candidate of `size` bytes. */
export function samplesIn(size: number): number {
  return size < SAMPLE_BYTES ? 0 : Math.floor((size - SAMPLE_BYTES) / sampleStride(size)) + 1;
}
