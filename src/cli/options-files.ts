/** What of the command line is about files of spaces; options.ts takes it into its table. */

export const FILE_OPTIONS = {
  async: { type: "flag", lineOnly: true, help: "a job of the hub makes the file; the command ends when the hub has all bytes" },
  archive: { type: "choice", choices: ["zip", "tar"], lineOnly: true, help: "a directory, or a file, as an archive" },
} as const;
