/** The whole table. */
import * as z from "zod";
import { openApi } from "#gateway/api/openapi.ts";
import { type AnyRoute, json, route } from "#gateway/api/route.ts";
import { ACCESS_ROUTES } from "#gateway/api/routes-access.ts";
import { ARCHIVE_ROUTES } from "#gateway/api/routes-archive.ts";
import { AUDIT_ROUTES } from "#gateway/api/routes-audit.ts";
import { CARE_ROUTES } from "#gateway/api/routes-care.ts";
import { CONFIG_ROUTES } from "#gateway/api/routes-config.ts";
import { CONFLICT_ROUTES } from "#gateway/api/routes-conflicts.ts";
import { CONTENT_ROUTES } from "#gateway/api/routes-content.ts";
import { ENTRY_ROUTES } from "#gateway/api/routes-entries.ts";
import { EVENT_ROUTES } from "#gateway/api/routes-events.ts";
import { FOLLOW_ROUTES } from "#gateway/api/routes-follow.ts";
import { HISTORY_ROUTES } from "#gateway/api/routes-history.ts";
import { HOST_ROUTES } from "#gateway/api/routes-hosts.ts";
import { HUB_ROUTES } from "#gateway/api/routes-hub.ts";
import { KEY_ROUTES } from "#gateway/api/routes-keys.ts";
import { JOB_ROUTES } from "#gateway/api/routes-jobs.ts";
import { LINK_ROUTES } from "#gateway/api/routes-links.ts";
import { OIDC_ROUTES } from "#gateway/api/routes-oidc.ts";
import { PROFILE_ROUTES } from "#gateway/api/routes-profiles.ts";
import { ROLE_ROUTES } from "#gateway/api/routes-roles.ts";
import { SESSION_ROUTES } from "#gateway/api/routes-sessions.ts";
import { SHARE_ROUTES } from "#gateway/api/routes-shares.ts";
import { SIGNED_ROUTES } from "#gateway/api/routes-signed.ts";
import { SPACE_ROUTES } from "#gateway/api/routes-spaces.ts";
import { UPLOAD_ROUTES } from "#gateway/api/routes-uploads.ts";
import { WEBHOOK_ROUTES } from "#gateway/api/routes-webhooks.ts";

/** @param version of the program, for the document that describes the table */
export function apiRoutes(version: string): readonly AnyRoute[] {
  const rows: AnyRoute[] = [
    ...SPACE_ROUTES,
    ...ENTRY_ROUTES,
    ...CONTENT_ROUTES,
    ...UPLOAD_ROUTES,
    ...HISTORY_ROUTES,
    ...CONFLICT_ROUTES,
    ...ARCHIVE_ROUTES,
    ...SHARE_ROUTES,
    ...SIGNED_ROUTES,
    ...EVENT_ROUTES,
    ...FOLLOW_ROUTES,
    ...ACCESS_ROUTES,
    ...ROLE_ROUTES,
    ...SESSION_ROUTES,
    ...OIDC_ROUTES,
    ...KEY_ROUTES,
    ...AUDIT_ROUTES,
    ...CONFIG_ROUTES,
    ...WEBHOOK_ROUTES,
    ...PROFILE_ROUTES,
    ...HOST_ROUTES,
    ...LINK_ROUTES,
    ...CARE_ROUTES,
    ...JOB_ROUTES,
    ...HUB_ROUTES,
  ];
  let document: unknown;
  rows.push(
    route({
      id: "hub.openapi",
      method: "GET",
      path: "/v1/openapi.json",
      summary: "This description",
      allowed: "public",
      answers: { 200: { description: "OpenAPI 3.1", schema: z.record(z.string(), z.unknown()) } },
      handle() {
        document ??= openApi(rows, version);
        return Promise.resolve(json(200, document));
      },
    }),
  );
  return rows;
}
