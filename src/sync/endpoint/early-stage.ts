/** Files that a directory gets into its stage before they are at the other side. */
import type { RelPath } from "#model/path.ts";
import { isCode } from "#platform/file-system.ts";
import type { ApplyContext } from "#sync/apply/apply-context.ts";
import { whyNoFile } from "#sync/apply/held-places.ts";
import { PartialFiles, partialName } from "#sync/apply/partial-files.ts";
import { withDiskErrors } from "#sync/endpoint/disk-error.ts";
import type { EarlyFiles, TransferResult } from "#sync/endpoint/endpoint.ts";
import { refuseFiles } from "#sync/endpoint/refuse-files.ts";
import { receiveFiles } from "#sync/transfer/receive.ts";
import type { Channel } from "#sync/wire/channel.ts";

export class EarlyStage implements EarlyFiles {
  readonly #label: string;
  readonly #apply: ApplyContext;

  constructor(label: string, apply: ApplyContext) {
    this.#label = label;
    this.#apply = apply;
  }

  async bring(channel: Channel, path: RelPath, size: number, signal: AbortSignal): Promise<TransferResult> {
    const { host, seeds, preserve, durable } = this.#apply;
    // Its metadata come with the change that it is for.
    const entry = { kind: "file", size, mode: 0o600, mtimeNs: 0n, sum: undefined } as const;
    const context = {
      host,
      seeds,
      stage: new PartialFiles(this.#apply),
      base: (): undefined => undefined,
      limit: (): undefined => undefined,
      sparse: preserve.sparse,
      durable: durable !== "none",
    };
    let result: TransferResult | undefined;
    const note = (one: TransferResult): void => void (result = one);
    const wanted = await refuseFiles([{ path, entry }], (at) => whyNoFile(this.#apply, at), note);
    await withDiskErrors("receive", this.#label, () => receiveFiles(context, channel, wanted, note, signal));
    return result!;
  }

  drop(path: RelPath): void {
    const { host, stage, received, seeds } = this.#apply;
    received.delete(path);
    try {
      host.fs.unlink(stage.root, partialName(path, seeds));
    } catch (error) {
      if (!isCode(error, "ENOENT")) throw error;
    }
  }
}
