/** What uploads refuse, and what to do instead. */
import { SynclineError } from "#model/error.ts";
import { printablePath } from "#model/path.ts";
import { USER_UPLOADS_MAX, type UploadId } from "#hub/uploads/upload.ts";

/** Also of one that is somebody else's, that has ended, or that is of another door. */
export function unknownUpload(id: UploadId): SynclineError {
  return new SynclineError({
    code: "NOT_FOUND",
    op: "upload",
    message: `there is no upload "${printablePath(id.slice(0, 64))}"`,
    hint: "it may have been completed, aborted, or dropped because nobody went on with it: begin a new one",
  });
}

export function wrongUse(message: string): SynclineError {
  return new SynclineError({ code: "USAGE", op: "upload", message });
}

export function overSize(size: number): SynclineError {
  const message = `the upload may have ${size} bytes at most, as it was begun or by what has come`;
  return new SynclineError({ code: "LIMIT", op: "upload", message, hint: "begin a new one with the right size" });
}

export function lacksRoom(bytes: number, room: number): SynclineError {
  return new SynclineError({
    code: "QUOTA",
    op: "upload",
    message: `the upload takes ${bytes} bytes, and the space has room for ${room} beside what is there and is being uploaded`,
    hint: "remove something, abort uploads that nobody goes on with, or raise the quota of the space",
  });
}

export function tooMany(): SynclineError {
  return new SynclineError({
    code: "LIMIT",
    op: "upload",
    message: `there are too many open uploads; one user may have ${USER_UPLOADS_MAX}`,
    hint: "complete or abort some of them",
  });
}

export function otherOffset(asked: number, there: number): SynclineError {
  const message = `the upload goes on at ${there}, not at ${asked}`;
  return new SynclineError({ code: "STALE", op: "upload", message, hint: "ask for its offset, and send what is lacking" });
}

export function replaced(): SynclineError {
  const message = "another append to the same upload has taken the place of this one";
  return new SynclineError({ code: "INTERRUPTED", op: "upload", message });
}

export function lacking(what: string): SynclineError {
  return new SynclineError({ code: "STALE", op: "complete upload", message: what, hint: "send what is lacking, and complete it again" });
}

export function lostParts(numbers: readonly number[]): SynclineError {
  const some = numbers.slice(0, 20).join(", ");
  return new SynclineError({
    code: "CHUNK_MISSING",
    op: "complete upload",
    message: `the store has lost bytes of ${numbers.length} parts: ${some}`,
    hint: "send these parts again, and complete it again",
  });
}

export function lostStream(): SynclineError {
  return new SynclineError({
    code: "CHUNK_MISSING",
    op: "upload",
    message: "the store has lost bytes of what had come of this upload",
    hint: "abort it and begin a new one",
  });
}

export function otherChallenge(): SynclineError {
  const message = "this is no answer to the last challenge, or it comes too late";
  return new SynclineError({ code: "STALE", op: "upload", message, hint: "offer the parts again, or send them" });
}
