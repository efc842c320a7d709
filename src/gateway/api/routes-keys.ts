/** Keys with which other doors know a user: access keys of S3, public keys of SSH. */
import * as z from "zod";
import { ruleSchema } from "#access/roles-file.ts";
import { SCOPES_MAX } from "#access/tokens.ts";
import { type AnyRoute, actorOf, json, nothing, route } from "#gateway/api/route.ts";
import { BY_NAME, NAME, NEXT, PAGE, TIME, iso, next, onCredentials } from "#gateway/api/shapes-access.ts";

const S3_KEY = z
  .object({
    accessKey: z.string(),
    user: z.string(),
    scopes: z.array(z.unknown()).optional().describe("Rules; the key may do no more than they and its user may"),
    created: TIME,
  })
  .meta({ id: "S3Key" });
const SSH_KEY = z
  .object({ fingerprint: z.string().describe("As ssh-keygen -l prints it"), line: z.string(), created: TIME })
  .meta({ id: "SshKey" });
export type S3KeyJson = z.infer<typeof S3_KEY>;
export type SshKeyJson = z.infer<typeof SSH_KEY>;

export const KEY_ROUTES: readonly AnyRoute[] = [
  route({
    id: "s3Key.list",
    method: "GET",
    path: "/v1/users/{name}/s3-keys",
    summary: "Access keys of a user; never their secrets",
    allowed: ({ params }) => onCredentials("read", params.name),
    params: BY_NAME,
    query: PAGE,
    answers: { 200: { description: "A page", schema: z.object({ s3Keys: z.array(S3_KEY), nextAfter: NEXT }) } },
    async handle({ services, params, query }) {
      const keys = await services.access.s3Keys.page(params.name, query.after, query.limit);
      const shown = keys.map(({ accessKey, user, scopes, createdMs }) => {
        return { accessKey, user, ...(scopes === undefined ? {} : { scopes: [...scopes] }), created: iso(createdMs) };
      });
      return json(200, { s3Keys: shown, ...next(keys, query.limit, keys.at(-1)?.accessKey) });
    },
  }),
  route({
    id: "s3Key.create",
    method: "POST",
    path: "/v1/users/{name}/s3-keys",
    summary: "Make an access key with a secret that is told this once",
    allowed: ({ params }) => onCredentials("manage", params.name),
    params: BY_NAME,
    body: z.strictObject({ scopes: z.array(ruleSchema).max(SCOPES_MAX).optional() }),
    answers: { 201: { description: "The key", schema: z.object({ accessKey: z.string(), secretKey: z.string() }) } },
    async handle(call) {
      const { scopes } = call.body;
      const made = await call.services.access.s3Keys.create(actorOf(call), call.params.name, { scopes });
      return json(201, made, { "cache-control": "no-store" });
    },
  }),
  route({
    id: "s3Key.revoke",
    method: "DELETE",
    path: "/v1/users/{name}/s3-keys/{accessKey}",
    summary: "Revoke an access key: it is refused from the answer on",
    allowed: ({ params }) => onCredentials("manage", params.name),
    params: z.object({ name: NAME, accessKey: NAME }),
    answers: { 204: { description: "Gone" } },
    async handle(call) {
      await call.services.access.s3Keys.revoke(actorOf(call), call.params.accessKey, call.params.name);
      return nothing();
    },
  }),
  route({
    id: "sshKey.list",
    method: "GET",
    path: "/v1/users/{name}/ssh-keys",
    summary: "Public keys of a user",
    allowed: ({ params }) => onCredentials("read", params.name),
    params: BY_NAME,
    answers: { 200: { description: "By fingerprint", schema: z.object({ sshKeys: z.array(SSH_KEY) }) } },
    async handle({ services, params }) {
      const keys = await services.access.sshKeys.list(params.name);
      const sshKeys = keys.map(({ fingerprint, line, createdMs }) => ({ fingerprint, line, created: iso(createdMs) }));
      return json(200, { sshKeys });
    },
  }),
  route({
    id: "sshKey.create",
    method: "POST",
    path: "/v1/users/{name}/ssh-keys",
    summary: "Add a public key, as a line of authorized_keys without options",
    allowed: ({ params }) => onCredentials("manage", params.name),
    params: BY_NAME,
    body: z.strictObject({ key: z.string().min(1).max(16_384) }),
    answers: { 201: { description: "Added", schema: z.object({ fingerprint: z.string() }) } },
    async handle(call) {
      const fingerprint = await call.services.access.sshKeys.create(actorOf(call), call.params.name, call.body.key);
      return json(201, { fingerprint });
    },
  }),
  route({
    id: "sshKey.revoke",
    method: "DELETE",
    path: "/v1/users/{name}/ssh-keys/{fingerprint}",
    summary: "Remove a public key: it is refused from the answer on",
    allowed: ({ params }) => onCredentials("manage", params.name),
    params: z.object({ name: NAME, fingerprint: NAME }),
    answers: { 204: { description: "Gone" } },
    async handle(call) {
      await call.services.access.sshKeys.revoke(actorOf(call), call.params.name, call.params.fingerprint);
      return nothing();
    },
  }),
];
