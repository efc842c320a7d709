/** The OpenAPI 3.1 document, made from the rows of the table and the schemas that validate. */
import * as z from "zod";
import { PROBLEM_JSON } from "#gateway/api/problem.ts";
import type { AnyRoute } from "#gateway/api/route.ts";

type Json = Record<string, unknown>;

/** Named schemas go to components, where the document refers to them. */
class Components {
  readonly schemas: Json = {};

  schema(schema: z.ZodType, io: "input" | "output"): unknown {
    const { $schema: _, $defs, ...own } = z.toJSONSchema(schema, { target: "draft-2020-12", io }) as Json;
    for (const [name, definition] of Object.entries(($defs as Json | undefined) ?? {})) {
      this.schemas[name] = moved(definition);
    }
    // A schema with a name of its own is described in place by the library; here it is referred to.
    const name = z.globalRegistry.get(schema)?.id;
    if (name === undefined) return moved(own);
    const { id: __, ...body } = own;
    this.schemas[name] = moved(body);
    return { $ref: `#/components/schemas/${name}` };
  }
}

function moved(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(moved);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [
      name,
      name === "$ref" && typeof inner === "string" ? inner.replace("#/$defs/", "#/components/schemas/") : moved(inner),
    ]),
  );
}

function parameters(schema: z.ZodType | undefined, where: "path" | "query", components: Components): Json[] {
  if (schema === undefined) return [];
  const object = components.schema(schema, "input") as { properties?: Json; required?: string[] };
  return Object.entries(object.properties ?? {}).map(([name, one]) => ({
    name,
    in: where,
    required: where === "path" || (object.required ?? []).includes(name),
    schema: one,
  }));
}

function operation(row: AnyRoute, components: Components): Json {
  const problem = { "application/problem+json": { schema: components.schema(PROBLEM_JSON, "output") } };
  const responses: Json = { default: { description: "What went wrong", content: problem } };
  for (const [status, answer] of Object.entries(row.answers)) {
    const schema = answer.schema === undefined ? undefined : components.schema(answer.schema, "output");
    const media = answer.media ?? (schema === undefined ? undefined : "application/json");
    const content = media === undefined ? {} : { content: { [media]: schema === undefined ? {} : { schema } } };
    responses[status] = { description: answer.description, ...content };
  }
  const path = row.path.includes("{path...}")
    ? [{ name: "path", in: "path", required: true, schema: { type: "string" }, description: "Names with / between" }]
    : [];
  const body =
    row.body !== undefined
      ? { "application/json": { schema: components.schema(row.body, "input") } }
      : row.takesBytes
        ? { "application/octet-stream": {} }
        : undefined;
  return {
    operationId: row.id,
    summary: row.summary,
    tags: [row.id.split(".")[0]],
    parameters: [...parameters(row.params, "path", components), ...path, ...parameters(row.query, "query", components)],
    ...(body === undefined ? {} : { requestBody: { required: true, content: body } }),
    responses,
    ...(row.allowed === "public" ? { security: [] } : {}),
  };
}

/** @param version of the program */
export function openApi(routes: readonly AnyRoute[], version: string): Json {
  const components = new Components();
  const paths: Record<string, Json> = {};
  for (const row of routes) {
    const path = row.path.replace("{path...}", "{path}");
    paths[path] = { ...paths[path], [row.method.toLowerCase()]: operation(row, components) };
  }
  return {
    openapi: "3.1.0",
    info: { title: "Syncline", version },
    paths,
    components: {
      schemas: components.schemas,
      securitySchemes: { token: { type: "http", scheme: "bearer" } },
    },
    security: [{ token: [] }],
  };
}
