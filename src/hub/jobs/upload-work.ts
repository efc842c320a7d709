/** An upload that was accepted is made the file that it is meant to be. Asked again, also after a crash, it is made once. */
import type { UPLOAD_ARGS } from "#hub/jobs/kinds.ts";
import type { ChangeResult, RefusalCode } from "#hub/space.ts";
import { uploadExpect } from "#hub/uploads/upload.ts";
import type { HubUploads } from "#hub/uploads/hub-uploads.ts";
import { numbersIn } from "#hub/uploads/number-ranges.ts";
import type { JobWork } from "#jobs/kind.ts";
import { type ErrorCode, SynclineError } from "#model/error.ts";
import { printablePath } from "#model/path.ts";
import type * as z from "zod";

export function uploadWork(uploads: Pick<HubUploads, "complete">): JobWork<z.infer<typeof UPLOAD_ARGS>> {
  return async ({ upload, door, parts, sequence, message }, { who, traceId }) => {
    const completion = { traceId, parts: parts === undefined ? undefined : numbersIn(parts), expect: uploadExpect(sequence), message };
    const { result } = await uploads.complete({ who, door }, upload, completion);
    if (result.status !== "done") throw notDone(result);
    const { path, version } = result;
    return { path, sequence: version.sequence };
  };
}

const CODES: Partial<Record<RefusalCode, ErrorCode>> = { QUOTA: "QUOTA" };

/** The upload stays open: its parts need not be sent again. */
function notDone(result: Exclude<ChangeResult, { status: "done" }>): SynclineError {
  const hint = "the upload is still there: complete it again when that is put right, or abort it";
  const { path } = result;
  if (result.status === "refused") {
    return new SynclineError({ code: CODES[result.code] ?? "USAGE", op: "complete upload", path, message: result.message, hint });
  }
  const message = `${printablePath(path.slice(0, 200))} is not what it was expected to be: somebody else has changed it`;
  return new SynclineError({ code: "STALE", op: "complete upload", path, message, hint });
}
