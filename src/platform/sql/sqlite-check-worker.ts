/** The program of the thread that looks at database files (sqlite-check.ts). */
import { Database } from "bun:sqlite";

export type Checked = { readonly fault: string | undefined };

declare const self: {
  onmessage: (event: { data: string }) => void;
  postMessage: (checked: Checked) => void;
};

/** What the engine says first; nobody else has the file. */
function faultIn(file: string): string | undefined {
  const database = new Database(file);
  try {
    const [row] = database.query("PRAGMA quick_check(1)").all() as Record<string, unknown>[];
    const text = String(Object.values(row ?? {})[0]);
    return text === "ok" ? undefined : text;
  } finally {
    database.close();
  }
}

self.onmessage = ({ data: file }) => {
  try {
    self.postMessage({ fault: faultIn(file) });
  } catch (error) {
    // A file that cannot be opened as one is none.
    self.postMessage({ fault: error instanceof Error ? error.message : String(error) });
  }
};
