/** The program of the thread that looks at database files (sqlite-check.ts). */
import { Database } from "bun:sqlite";

/** `isWhole`: also whether each index has what its table has; `max` faults end it. */
export type Check = { readonly file: string; readonly isWhole: boolean; readonly max: number };
export type Checked = { readonly faults: readonly string[] };

declare const self: {
  onmessage: (event: { data: Check }) => void;
  postMessage: (checked: Checked) => void;
};

function faultsIn({ file, isWhole, max }: Check): string[] {
  const database = new Database(file, { readwrite: true });
  try {
    const rows = database.query(`PRAGMA ${isWhole ? "integrity_check" : "quick_check"}(${max})`).all() as Record<string, unknown>[];
    return rows.map((row) => String(Object.values(row)[0])).filter((text) => text !== "ok");
  } finally {
    database.close();
  }
}

self.onmessage = ({ data }) => {
  try {
    self.postMessage({ faults: faultsIn(data) });
  } catch (error) {
    // A file that cannot be opened as one is none.
    self.postMessage({ faults: [error instanceof Error ? error.message : String(error)] });
  }
};
