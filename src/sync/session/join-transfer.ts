/** Both halves of a transfer; when one breaks, the other must not wait for ever. Rejects with the first of their errors. */
import { asError } from "#model/error.ts";
export async function joinTransfer(
  receive: Promise<void>,
  supply: Promise<void>,
  ...ends: { fail(error: Error): void }[]
): Promise<void> {
  const guard = (half: Promise<void>): Promise<void> =>
    half.catch((error: unknown) => {
      for (const end of ends) end.fail(asError(error));
      throw error;
    });
  const outcome = await Promise.allSettled([guard(receive), guard(supply)]);
  for (const half of outcome) if (half.status === "rejected") throw half.reason;
}
