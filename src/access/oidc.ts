/**
 * Signing in through an OpenID Connect provider: the authorization code flow with PKCE for browsers, the device flow for
 * programs. What the two need between their steps is sealed and handed to the client, so that nothing waits here.
 *
 * An ID token is believed only with a signature of the provider's published keys, for this hub, from this issuer, in its
 * time and with the nonce of this very sign-in.
 */
import type * as oidc from "openid-client";
import { SynclineError } from "#model/error.ts";
import type { Clock, Random } from "#platform/host.ts";
import type { SealKey } from "#access/seal-key.ts";

/** How far the clocks of hub and provider may be apart. */
export const CLOCK_SKEW_SECONDS_MAX = 60;
/** A question to the provider, and the bytes of its answer. */
const ASK_SECONDS_MAX = 10;
const ANSWER_BYTES_MAX = 1 << 20;
/** Questions at a time: who asks in vain must not keep the hub busy. */
const ASKING_MAX = 16;
/** From the first step of a browser to the last. */
export const SIGN_IN_MS_MAX = 10 * 60_000;
/** What the provider says of itself is asked for again after this. */
const DISCOVERED_MS_MAX = 3_600_000;
const DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code";
/** Characters of what a client hands back sealed. */
const SEALED_CHARS_MAX = 8192;
const GROUPS_MAX = 1000;

export type OidcSettings = {
  /** As the provider names itself; https, or http on a loopback address. */
  readonly issuer: string;
  readonly clientId: string;
  /** Undefined: a public client. */
  readonly clientSecret: string | undefined;
  readonly scopes: readonly string[];
  /** The claim that holds the name of the user. */
  readonly userClaim: string;
  /** The claim that lists the provider's groups. */
  readonly groupClaim: string;
  /** Groups of this hub, and roles, by group of the provider. What is named here follows the provider at each sign-in. */
  readonly groups: ReadonlyMap<string, readonly string[]>;
  readonly roles: ReadonlyMap<string, readonly string[]>;
  /** Whether somebody whom the provider knows and the hub does not becomes a user. */
  readonly provision: boolean;
};

/** Somebody whom the provider has vouched for. */
export type Vouched = {
  readonly issuer: string;
  readonly subject: string;
  readonly name: string;
  readonly groups: readonly string[];
};

export type DeviceStart = {
  /** For `pollDevice`. */
  readonly handle: string;
  readonly userCode: string;
  readonly verificationUri: string;
  readonly verificationUriComplete: string | undefined;
  readonly intervalSeconds: number;
  readonly expiresSeconds: number;
};

type Begun = { state: string; nonce: string; verifier: string; returnTo: string; redirectUri: string; issuer: string; untilMs: number };
type Device = { code: string; issuer: string; untilMs: number };

export class Oidc {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #seal: SealKey;
  #settings: OidcSettings | undefined;
  #discovered: { readonly settings: OidcSettings; readonly sinceMs: number; readonly config: Promise<oidc.Configuration> } | undefined;
  #asking = 0;

  constructor(clock: Clock, random: Random, seal: SealKey) {
    this.#clock = clock;
    this.#random = random;
    this.#seal = seal;
  }

  /** Undefined: nobody signs in this way. */
  get settings(): OidcSettings | undefined {
    return this.#settings;
  }

  /** From now on; a sign-in that was begun with another issuer is not finished. */
  use(settings: OidcSettings | undefined): void {
    this.#settings = settings;
    this.#discovered = undefined;
  }

  /**
   * Where to send the browser, and what it must bring back with it.
   * @param returnTo handed on; the caller checks it
   * @throws {SynclineError} UNSUPPORTED, LINK_LOST (the provider), LIMIT
   */
  async begin(redirectUri: string, returnTo: string): Promise<{ url: string; sealed: string }> {
    return this.#ask(async (client, config, settings) => {
      const verifier = client.randomPKCECodeVerifier();
      const secret = (): string => Buffer.from(this.#random.bytes(24)).toString("base64url");
      const begun: Begun = {
        state: secret(),
        nonce: secret(),
        verifier,
        returnTo,
        redirectUri,
        issuer: settings.issuer,
        untilMs: this.#clock.nowMs() + SIGN_IN_MS_MAX,
      };
      const url = client.buildAuthorizationUrl(config, {
        redirect_uri: redirectUri,
        scope: settings.scopes.join(" "),
        state: begun.state,
        nonce: begun.nonce,
        code_challenge: await client.calculatePKCECodeChallenge(verifier),
        code_challenge_method: "S256",
      });
      return { url: url.href, sealed: this.#sealed(begun, "code") };
    });
  }

  /**
   * @param sealed what the browser brought back from `begin`
   * @param query of the address that the provider sent it to
   * @throws {SynclineError} AUTH when anything of it is not as it must be; as `begin`
   */
  async finish(sealed: string, query: string): Promise<Vouched & { readonly returnTo: string }> {
    const begun = this.#opened<Begun>(sealed, "code");
    return this.#ask(async (client, config, settings) => {
      const tokens = await client.authorizationCodeGrant(config, new URL(`${begun.redirectUri}${query}`), {
        pkceCodeVerifier: begun.verifier,
        expectedState: begun.state,
        expectedNonce: begun.nonce,
        idTokenExpected: true,
      });
      return { ...(await vouchedBy(client, config, settings, tokens)), returnTo: begun.returnTo };
    });
  }

  /** For a program on a host without a browser. @throws {SynclineError} UNSUPPORTED, LINK_LOST, LIMIT */
  async beginDevice(): Promise<DeviceStart> {
    return this.#ask(async (client, config, settings) => {
      if (config.serverMetadata().device_authorization_endpoint === undefined) {
        throw unsupported("the identity provider has no device flow", "sign in with a browser, or with syncline login USER");
      }
      const answer = await client.initiateDeviceAuthorization(config, { scope: settings.scopes.join(" ") });
      const untilMs = this.#clock.nowMs() + answer.expires_in * 1000;
      const device: Device = { code: answer.device_code, issuer: settings.issuer, untilMs };
      return {
        handle: this.#sealed(device, "device"),
        userCode: answer.user_code,
        verificationUri: webAddress(answer.verification_uri),
        verificationUriComplete: answer.verification_uri_complete === undefined ? undefined : webAddress(answer.verification_uri_complete),
        intervalSeconds: answer.interval ?? 5,
        expiresSeconds: answer.expires_in,
      };
    });
  }

  /** Undefined: the person has not decided yet. @throws {SynclineError} AUTH (refused, too late), as `begin` */
  async pollDevice(handle: string): Promise<Vouched | "slower" | undefined> {
    const device = this.#opened<Device>(handle, "device");
    return this.#ask(async (client, config, settings) => {
      try {
        const tokens = await client.genericGrantRequest(config, DEVICE_GRANT, { device_code: device.code });
        return await vouchedBy(client, config, settings, tokens);
      } catch (error) {
        if (error instanceof client.ResponseBodyError && error.error === "authorization_pending") return undefined;
        if (error instanceof client.ResponseBodyError && error.error === "slow_down") return "slower" as const;
        throw error;
      }
    });
  }

  #sealed(value: Begun | Device, step: "code" | "device"): string {
    return Buffer.from(this.#seal.seal(JSON.stringify(value), `oidc ${step}`)).toString("base64url");
  }

  #opened<T extends Begun | Device>(sealed: string, step: "code" | "device"): T {
    try {
      if (sealed.length > SEALED_CHARS_MAX) throw new Error("too long");
      const value = JSON.parse(this.#seal.open(Buffer.from(sealed, "base64url"), `oidc ${step}`)) as T;
      if (value.issuer === this.#settings?.issuer && value.untilMs > this.#clock.nowMs()) return value;
    } catch {
      // Damaged, of another hub or made up: the same to who shows it.
    }
    throw notValid("this sign-in is over, or was never begun here", "begin again");
  }

  async #ask<T>(
    work: (client: typeof oidc, config: oidc.Configuration, settings: OidcSettings) => Promise<T>,
  ): Promise<T> {
    const settings = this.#settings;
    if (settings === undefined) {
      throw unsupported("this hub has no identity provider", "sign in with a password: syncline login USER");
    }
    if (this.#asking >= ASKING_MAX) throw tooMany();
    this.#asking++;
    try {
      const client = await import("openid-client");
      return await work(client, await this.#configuration(client, settings), settings);
    } catch (cause) {
      throw cause instanceof SynclineError ? cause : explained(cause);
    } finally {
      this.#asking--;
    }
  }

  #configuration(client: typeof oidc, settings: OidcSettings): Promise<oidc.Configuration> {
    const known = this.#discovered;
    const now = this.#clock.monotonicMs();
    if (known?.settings === settings && now - known.sinceMs < DISCOVERED_MS_MAX) return known.config;
    const config = discover(client, settings);
    const mine = { settings, sinceMs: now, config };
    this.#discovered = mine;
    // What failed is asked again at the next sign-in.
    config.catch(() => (this.#discovered === mine ? (this.#discovered = undefined) : undefined));
    return config;
  }
}

async function discover(client: typeof oidc, settings: OidcSettings): Promise<oidc.Configuration> {
  const { issuer, clientId, clientSecret } = settings;
  const isPlain = issuer.startsWith("http:");
  // The library checks signatures of ID tokens only when it is told to; without it the TLS of the answer is all.
  const execute = [client.enableNonRepudiationChecks, ...(isPlain ? [client.allowInsecureRequests] : [])];
  const metadata = { [client.clockTolerance]: CLOCK_SKEW_SECONDS_MAX };
  const proof = clientSecret === undefined ? client.None() : client.ClientSecretBasic(clientSecret);
  return client.discovery(new URL(issuer), clientId, metadata, proof, {
    execute,
    timeout: ASK_SECONDS_MAX,
    [client.customFetch]: boundedFetch,
  });
}

/** An answer that does not end fills no memory. */
async function boundedFetch(url: string, options: oidc.CustomFetchOptions): Promise<Response> {
  const response = await fetch(url, options as RequestInit);
  const pieces: Uint8Array[] = [];
  let total = 0;
  for await (const piece of response.body ?? []) {
    total += piece.length;
    if (total > ANSWER_BYTES_MAX) throw new Error(`the answer has more than ${ANSWER_BYTES_MAX} bytes`);
    pieces.push(piece);
  }
  const { status, headers } = response;
  const isEmpty = status === 204 || status === 304;
  return new Response(isEmpty ? null : Buffer.concat(pieces), { status, headers });
}

type Tokens = oidc.TokenEndpointResponse & oidc.TokenEndpointResponseHelpers;

/** Names and groups may be in the ID token or, with some providers, only in what they tell of the user. */
async function vouchedBy(client: typeof oidc, config: oidc.Configuration, settings: OidcSettings, tokens: Tokens): Promise<Vouched> {
  const { userClaim, groupClaim, issuer } = settings;
  const idToken = tokens.claims();
  if (idToken === undefined) throw notValid("the identity provider gave no ID token", "its administrator must allow the scope openid");
  let claims: Record<string, unknown> = idToken;
  const isWhole = claims[userClaim] !== undefined && claims[groupClaim] !== undefined;
  if (!isWhole && config.serverMetadata().userinfo_endpoint !== undefined) {
    claims = { ...(await client.fetchUserInfo(config, tokens.access_token, idToken.sub)), ...claims };
  }
  const name = claims[userClaim];
  if (typeof name !== "string") {
    throw notValid(`the identity provider says no ${userClaim} of you`, "see oidcUserClaim of the hub's configuration");
  }
  const groups = claims[groupClaim] ?? [];
  const list = (Array.isArray(groups) ? groups : [groups]).filter((one): one is string => typeof one === "string");
  return { issuer, subject: idToken.sub, name: name.toLowerCase(), groups: list.slice(0, GROUPS_MAX) };
}

/** What a person is to open must be a page of the web. */
function webAddress(text: string): string {
  const url = new URL(text);
  if (url.protocol === "https:" || url.protocol === "http:") return url.href;
  throw notValid("the identity provider names no page to open", "ask its administrator");
}

/** The provider's own words reach the log, not who asked. */
function explained(cause: unknown): SynclineError {
  const code = cause instanceof Error && "error" in cause ? String(cause.error) : "";
  if (code === "access_denied") return notValid("the sign-in was refused at the identity provider", "begin again", cause);
  if (code === "expired_token") return notValid("the sign-in took too long", "begin again", cause);
  const name = cause instanceof Error ? cause.name : "";
  const isUnreachable = name === "TypeError" || name === "TimeoutError" || name === "AbortError" || isNetwork(cause);
  if (!isUnreachable) return notValid("what the identity provider answered is not valid", "the hub's log says why", cause);
  return new SynclineError({
    code: "LINK_LOST",
    op: "ask identity provider",
    message: "the identity provider cannot be reached",
    hint: "try again, or sign in with a password",
    retryable: true,
    cause,
  });
}

const NETWORK = /^(ConnectionRefused|ECONN|ENOTFOUND|FailedToOpenSocket|UNABLE|CERT)/;
const isNetwork = (cause: unknown): boolean => cause instanceof Error && "code" in cause && NETWORK.test(String(cause.code));

function notValid(message: string, hint: string, cause?: unknown): SynclineError {
  return new SynclineError({ code: "AUTH", op: "sign in", message, hint, cause });
}

function unsupported(message: string, hint: string): SynclineError {
  return new SynclineError({ code: "UNSUPPORTED", op: "sign in", message, hint });
}

function tooMany(): SynclineError {
  const message = "too many are signing in at once";
  return new SynclineError({ code: "LIMIT", op: "sign in", message, hint: "try again in a moment", retryable: true });
}
