/** Changes that are made of what is there. */

/** Then it is told: what others change so often would never be done. */
const TRIES_MAX = 5;

/**
 * Looks, and changes what it has seen; once more where somebody else was faster, since nobody has asked for it to be as it
 * was.
 * @param attempt told whether it is the last one
 * @param isLate whether that is what an attempt has failed of
 */
export async function onceMore<T>(attempt: (isLast: boolean) => Promise<T>, isLate: (error: unknown) => boolean): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await attempt(tries === TRIES_MAX);
    } catch (error) {
      if (tries === TRIES_MAX || !isLate(error)) throw error;
    }
  }
}
