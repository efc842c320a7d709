/**
 * A real OpenID Connect provider (the npm package oidc-provider, which is certified) with its own sign-in pages, and a
 * person with a browser: it keeps cookies, follows redirects, and fills in and sends the form of each page.
 */
import type { Server } from "node:http";
import { Provider } from "oidc-provider";

const STEPS_MAX = 30;

export class IdentityProvider implements AsyncDisposable {
  readonly issuer: string;
  readonly #server: Server;

  private constructor(issuer: string, server: Server) {
    this.issuer = issuer;
    this.#server = server;
  }

  /** @param redirectUri of the hub @param groups of everybody, by name */
  static async start(port: number, redirectUri: string, groups: Readonly<Record<string, readonly string[]>>): Promise<IdentityProvider> {
    const issuer = `http://127.0.0.1:${port}`;
    const provider = new Provider(issuer, {
      clients: [
        {
          client_id: "syncline",
          client_secret: "the hub's secret",
          redirect_uris: [redirectUri],
          response_types: ["code"],
          grant_types: ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"],
        },
      ],
      features: { deviceFlow: { enabled: true }, devInteractions: { enabled: true } },
      claims: { openid: ["sub"], profile: ["preferred_username", "groups"] },
      findAccount: (_, id) => ({
        accountId: id,
        claims: () => ({ sub: `subject-${id}`, preferred_username: id, groups: [...(groups[id] ?? [])] }),
      }),
      cookies: { keys: ["only for tests"] },
    });
    const server = await new Promise<Server>((done) => {
      const started: Server = provider.listen(port, "127.0.0.1", () => done(started));
    });
    return new IdentityProvider(issuer, server);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }
}

type Page = { readonly url: string; readonly status: number; readonly text: string };

export class Browser {
  readonly #who: string;
  /** By origin, then by name. */
  readonly #cookies = new Map<string, Map<string, string>>();

  constructor(who: string) {
    this.#who = who;
  }

  /** Goes on until there is a page without a form, and gives that. */
  async open(address: string): Promise<Page> {
    let url = address;
    let init: RequestInit = {};
    for (let step = 0; step < STEPS_MAX; step++) {
      const page = await this.#load(url, init);
      const { location } = page;
      if (location !== undefined) [url, init] = [new URL(location, url).href, {}];
      else {
        const form = formOf(page.text, this.#who);
        if (form === undefined) return page;
        [url, init] = [new URL(form.action, url).href, { method: "POST", body: form.fields }];
      }
    }
    throw new Error(`no end after ${STEPS_MAX} steps: ${url}`);
  }

  cookie(origin: string, name: string): string | undefined {
    return this.#cookies.get(origin)?.get(name);
  }

  async #load(url: string, init: RequestInit): Promise<Page & { location: string | undefined }> {
    const { origin } = new URL(url);
    const jar = this.#cookies.get(origin) ?? new Map<string, string>();
    this.#cookies.set(origin, jar);
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join("; ");
    const response = await fetch(url, { ...init, redirect: "manual", headers: { cookie } });
    for (const set of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(set)!;
      if (value === "" || /max-age=0|expires=Thu, 01 Jan 1970/i.test(set)) jar.delete(name!);
      else jar.set(name!, value!);
    }
    const location = response.headers.get("location") ?? undefined;
    return { url, status: response.status, text: await response.text(), location };
  }
}

/** The first form of a page as this person would send it. */
function formOf(text: string, who: string): { action: string; fields: URLSearchParams } | undefined {
  const form = /<form[^>]*>[\s\S]*?<\/form>/i.exec(text)?.[0];
  if (form === undefined) return undefined;
  const attribute = (tag: string, name: string): string | undefined =>
    new RegExp(`\\b${name}="([^"]*)"`, "i").exec(tag)?.[1]?.replaceAll("&amp;", "&");
  const fields = new URLSearchParams();
  for (const [tag] of form.matchAll(/<(?:input|button)[^>]*>/gi)) {
    const name = attribute(tag, "name");
    if (name === undefined || name === "abort") continue;
    fields.set(name, name === "login" ? who : name === "password" ? "any" : (attribute(tag, "value") ?? ""));
  }
  return { action: attribute(form, "action") ?? "", fields };
}
