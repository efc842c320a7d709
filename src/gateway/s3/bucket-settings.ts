/** What S3 keeps with a bucket: short texts in the settings of its space, so that they follow it wherever it goes. */
import { type Principal, systemPrincipal } from "#access/access.ts";
import type { S3Call } from "#gateway/s3/s3-call.ts";
import { NO_ATTRIBUTES, type Attributes } from "#hub/attributes.ts";
import type { SpaceService } from "#hub/space-service.ts";
import type { SpaceSettings } from "#hub/space.ts";
import { Versioning } from "#hub/versioning.ts";
import { SynclineError } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";

export const CORS = "s3.cors";
export const BUCKET_TAGS = "s3.tags";

/** Settings that are remembered, and for how long: others may change them, too. */
const KNOWN_MAX = 1000;
const KNOWN_MS = 1000;

type Known = { readonly settings: SpaceSettings | undefined; readonly readMs: number };

export class BucketSettings {
  readonly #spaces: SpaceService;
  readonly #clock: Clock;
  readonly #known = new Map<string, Known>();
  /** Nobody is told what is read with it. */
  readonly #self: Principal = systemPrincipal("s3");
  #setting: Promise<unknown> = Promise.resolve();
  /** How often something was set here. */
  #changes = 0;

  constructor(spaces: SpaceService, clock: Clock) {
    this.#spaces = spaces;
    this.#clock = clock;
  }

  /** As they are, or were a second ago; none for a bucket that is not there. Asks for no rights. */
  async recent(bucket: string): Promise<Attributes> {
    return (await this.recentSettings(bucket))?.doors ?? NO_ATTRIBUTES;
  }

  /** As recent, of all that the space keeps; undefined for a bucket that is not there. */
  async recentSettings(bucket: string): Promise<SpaceSettings | undefined> {
    const nowMs = this.#clock.monotonicMs();
    const known = this.#known.get(bucket);
    if (known !== undefined && nowMs - known.readMs < KNOWN_MS) return known.settings;
    const changes = this.#changes;
    const settings = await this.#read(bucket);
    this.#known.delete(bucket);
    // It may be from before what was set meanwhile.
    if (changes !== this.#changes) return settings;
    this.#known.set(bucket, { settings, readMs: nowMs });
    if (this.#known.size > KNOWN_MAX) this.#known.delete(this.#known.keys().next().value!);
    return settings;
  }

  async #read(bucket: string): Promise<SpaceSettings | undefined> {
    try {
      return (await this.#spaces.space(this.#self, bucket)).settings;
    } catch (error) {
      if (error instanceof SynclineError && error.code === "SPACE_UNKNOWN") return undefined;
      throw error;
    }
  }

  /** For who may read something of it. @throws {SynclineError} SPACE_UNKNOWN */
  async get({ who, request }: S3Call, name: string): Promise<string | undefined> {
    return (await this.#spaces.space(who, request.bucket)).settings.doors?.[name];
  }

  /**
   * @param text undefined takes it away
   * @param require whether it fits what else the bucket has, which may be set at the same time
   * @throws {SynclineError} SPACE_UNKNOWN, DENIED; what `require` throws
   */
  set(call: S3Call, name: string, text: string | undefined, require?: (now: SpaceSettings) => void): Promise<void> {
    return this.#inTurn(call, (now) => {
      require?.(now);
      const all = Object.entries({ ...now.doors, [name]: text });
      return { doors: Object.fromEntries(all.filter(([, value]) => value !== undefined)) as Attributes };
    });
  }

  /** Of what the space keeps beside that. @throws as set */
  change(call: S3Call, settings: Partial<SpaceSettings>, require?: (now: SpaceSettings) => void): Promise<void> {
    return this.#inTurn(call, (now) => {
      require?.(now);
      return settings;
    });
  }

  /** Each begins with what the one before has left: a policy must not be lost to tags that were set at the same time. */
  async #inTurn({ renew, request, services }: S3Call, changed: (now: SpaceSettings) => Partial<SpaceSettings>): Promise<void> {
    const { bucket } = request;
    const turn = this.#setting.then(async () => {
      // What is set may have come for long.
      const who = await renew();
      services.access.require(who, "manage", { type: "space", space: bucket, path: "" });
      const { settings } = await this.#spaces.space(who, bucket);
      await this.#spaces.updateSpace(who, bucket, { settings: changed(settings) });
      this.#forget(bucket);
    });
    this.#setting = turn.catch(() => undefined);
    await turn;
  }

  #forget(bucket: string): void {
    this.#changes++;
    this.#known.delete(bucket);
  }

  /** Whether versions are shown, and how each is called. */
  async versioning(bucket: string): Promise<Versioning> {
    return new Versioning(await this.recent(bucket));
  }
}
