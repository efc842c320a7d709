/** An identity provider that says whatever a test wants, right or wrong, over real HTTP with real signatures. */
import { type CryptoKey, type JWK, SignJWT, exportJWK, generateKeyPair } from "jose";
import type { OidcSettings } from "#access/oidc.ts";

export type Lie = {
  readonly issuer?: string;
  readonly audience?: string;
  readonly nonce?: string;
  /** Seconds from now. */
  readonly expires?: number;
  readonly issued?: number;
  readonly claims?: Record<string, unknown>;
  /** Signed by a key that nobody has published. */
  readonly isForged?: boolean;
  readonly isUnsigned?: boolean;
  readonly isEndless?: boolean;
};

type Signer = { readonly key: CryptoKey; readonly jwk: JWK };

async function newSigner(kid: string): Promise<Signer> {
  const { privateKey, publicKey } = await generateKeyPair("ES256", { extractable: true });
  return { key: privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg: "ES256", use: "sig" } };
}

export class TestProvider implements AsyncDisposable {
  readonly issuer: string;
  lie: Lie = {};
  /** What the device flow answers until it is undefined: then the person has agreed. */
  deviceError: string | undefined;
  keysAsked = 0;
  /** Seconds that its clock is ahead. */
  skew = 0;
  #signer: Signer;
  readonly #forger: Signer;
  readonly #server: Bun.Server<undefined>;
  /** Nonce and challenge of each code. */
  readonly #codes = new Map<string, { nonce: string; challenge: string }>();

  private constructor(signer: Signer, forger: Signer) {
    this.#signer = signer;
    this.#forger = forger;
    this.#server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: (request) => this.#answer(request) });
    this.issuer = `http://127.0.0.1:${this.#server.port}`;
  }

  static async open(): Promise<TestProvider> {
    return new TestProvider(await newSigner("one"), await newSigner("one"));
  }

  settings(more: Partial<OidcSettings> = {}): OidcSettings {
    const { issuer } = this;
    return {
      issuer,
      clientId: "syncline",
      clientSecret: "a secret",
      scopes: ["openid"],
      userClaim: "preferred_username",
      groupClaim: "groups",
      groups: new Map(),
      roles: new Map(),
      provision: false,
      ...more,
    };
  }

  async rotate(): Promise<void> {
    this.#signer = await newSigner("two");
  }

  /** What a person's browser is sent back with. */
  agree(url: string): string {
    const asked = new URL(url).searchParams;
    const code = crypto.randomUUID();
    this.#codes.set(code, { nonce: asked.get("nonce")!, challenge: asked.get("code_challenge")! });
    return `?code=${code}&state=${asked.get("state")!}`;
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    const { issuer } = this;
    if (pathname.startsWith("/.well-known/")) {
      return Response.json({
        issuer,
        authorization_endpoint: `${issuer}/auth`,
        token_endpoint: `${issuer}/token`,
        device_authorization_endpoint: `${issuer}/device`,
        jwks_uri: `${issuer}/keys`,
        response_types_supported: ["code"],
        id_token_signing_alg_values_supported: ["ES256"],
      });
    }
    if (pathname === "/keys") {
      this.keysAsked++;
      return Response.json({ keys: [this.#signer.jwk] });
    }
    const form = new URLSearchParams(await request.text());
    if (pathname === "/device") {
      return Response.json({ device_code: "device", user_code: "AB-CD", verification_uri: `${issuer}/page`, expires_in: 600, interval: 1 });
    }
    if (form.get("grant_type")!.includes("device_code")) {
      return this.deviceError === undefined ? this.#tokens(undefined) : Response.json({ error: this.deviceError }, { status: 400 });
    }
    const begun = this.#codes.get(form.get("code")!);
    const challenge = new Bun.CryptoHasher("sha256").update(form.get("code_verifier") ?? "").digest("base64url");
    this.#codes.delete(form.get("code")!);
    if (begun?.challenge !== challenge) return Response.json({ error: "invalid_grant" }, { status: 400 });
    return this.#tokens(begun.nonce);
  }

  async #tokens(nonce: string | undefined): Promise<Response> {
    const { lie } = this;
    if (lie.isEndless === true) return new Response("x".repeat(3 << 20), { headers: { "content-type": "application/json" } });
    const now = Math.floor(Date.now() / 1000) + this.skew;
    const claims = { preferred_username: "ann", groups: ["staff"], ...(nonce === undefined ? {} : { nonce: lie.nonce ?? nonce }), ...lie.claims };
    const payload = { sub: "subject-of-ann", ...claims, iss: lie.issuer ?? this.issuer, aud: lie.audience ?? "syncline", iat: now + (lie.issued ?? 0), exp: now + (lie.expires ?? 300) };
    const { key, jwk } = lie.isForged === true ? this.#forger : this.#signer;
    const signed = await new SignJWT(payload).setProtectedHeader({ alg: "ES256", kid: jwk.kid! }).sign(key);
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
    const idToken = lie.isUnsigned === true ? `${part({ alg: "none" })}.${part(payload)}.` : signed;
    return Response.json({ access_token: "access", token_type: "Bearer", expires_in: 60, id_token: idToken });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.stop(true);
  }
}
