/** The OpenAPI document of every route under /v1, generated from the schemas that validate requests. */
import { toJsonSchema } from "@valibot/to-json-schema";
import type { AnyElysia } from "elysia";
import type { GenericSchema } from "valibot";
import { accessOf } from "./access.ts";

type Json = Record<string, unknown>;

/** One route, for the reference page and the document. */
export interface Operation {
  method: string;
  /** In OpenAPI's form: `/v1/jobs/{id}`. */
  path: string;
  access: string;
  summary: string;
  description: string | null;
  tag: string;
  query: Json | null;
  body: Json | null;
  /** By status, in OpenAPI's form. */
  responses: Json;
  detail: Json;
}

/** The schema that follows the checks of `eitherOf` and `nullsAbsent`; any other schema as it is. */
function described(schema: GenericSchema & { pipe?: readonly unknown[] }): GenericSchema {
  const last = schema.pipe?.at(-1);
  return isValibot(last) && last.kind === "schema" && last !== schema ? described(last) : schema;
}

function isValibot(schema: unknown): schema is GenericSchema {
  return typeof schema === "object" && schema !== null && "~standard" in schema && "kind" in schema;
}

/** JSON Schema of what a client sends (`input`) or gets (`output`), without transforms and custom checks. */
function schemaOf(schema: unknown, typeMode: "input" | "output" = "input"): Json | null {
  if (!isValibot(schema)) return null;
  const { $schema: _, $defs, ...rest } = toJsonSchema(described(schema), { typeMode, errorMode: "ignore" });
  return inlined(rest, ($defs ?? {}) as Json) as Json;
}

/** A schema with its `$defs` inlined: inside the document, references to them would not resolve. */
function inlined(node: unknown, defs: Json, within: readonly string[] = []): unknown {
  if (Array.isArray(node)) return node.map((each) => inlined(each, defs, within));
  if (typeof node !== "object" || node === null) return node;
  const name = /^#\/\$defs\/(.+)$/.exec(String((node as Json).$ref ?? ""))?.[1];
  // A schema that contains itself is cut off: any value is described there.
  if (name !== undefined) return within.includes(name) ? {} : inlined(defs[name], defs, [...within, name]);
  return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, inlined(value, defs, within)]));
}

/** The answers a route documents, with their valibot schemas as JSON Schema. */
function responsesOf(given: unknown): Json {
  const responses = (given ?? { 200: { description: "Done." } }) as Record<string, Json>;
  return Object.fromEntries(
    Object.entries(responses).map(([status, { content, ...rest }]) => [
      status,
      content === undefined
        ? rest
        : {
            ...rest,
            content: Object.fromEntries(
              Object.entries(content as Record<string, Json>).map(([type, { schema }]) => [
                type,
                { schema: schemaOf(schema, "output") ?? schema },
              ]),
            ),
          },
    ]),
  );
}

/** All documented routes, in the order in which they are registered. */
export function operationsOf(app: AnyElysia): Operation[] {
  return app.routes
    .filter((route) => route.path.startsWith("/v1/") && route.hooks?.detail?.hide !== true)
    .map((route) => {
      const { summary, description, tags, responses, requestBody, ...detail } = (route.hooks?.detail ?? {}) as Json & {
        tags?: string[];
        requestBody?: { content: Record<string, { schema: unknown }> };
      };
      return {
        method: route.method,
        path: route.path.replace(/:(\w+)\??/g, "{$1}").replace(/\*$/, "{path}"),
        access: accessOf(route.method, route.path),
        summary: typeof summary === "string" ? summary : "",
        description: typeof description === "string" ? description : null,
        tag: tags?.[0] ?? "Other",
        query: schemaOf(route.hooks?.query),
        body: schemaOf(route.hooks?.body ?? requestBody?.content["application/json"]?.schema),
        responses: responsesOf(responses),
        detail,
      };
    });
}

function parametersOf(operation: Operation): Json[] {
  const inPath = [...operation.path.matchAll(/\{(\w+)\}/g)].map((match) => ({
    name: match[1],
    in: "path",
    required: true,
    schema: { type: "string" },
  }));
  const properties = (operation.query?.properties ?? {}) as Record<string, Json>;
  const required = (operation.query?.required ?? []) as string[];
  const inQuery = Object.entries(properties).map(([name, schema]) => ({
    name,
    in: "query",
    required: required.includes(name),
    schema,
  }));
  return [...inPath, ...inQuery];
}

const ERROR = {
  type: "object",
  properties: {
    error: {
      type: "object",
      properties: {
        message: { type: "string", description: "What happened and what to do about it." },
        type: { type: "string" },
        param: { type: ["string", "null"], description: "The field the message is about." },
        code: { type: "string", description: "Stable; for programs." },
      },
      required: ["message", "type", "param", "code"],
    },
  },
  required: ["error"],
};

/** The document, OpenAPI 3.1. */
export function documentOf(app: AnyElysia, version: string, contact: string | null = null): Json {
  const paths: Record<string, Json> = {};
  for (const operation of operationsOf(app)) {
    const { method, path, summary, description, tag, body, responses, detail } = operation;
    const id = `${method.toLowerCase()}${path.replace(/[^A-Za-z0-9]+(.)?/g, (_, next: string | undefined) => next?.toUpperCase() ?? "")}`;
    paths[path] ??= {};
    (paths[path] as Json)[method.toLowerCase()] = {
      operationId: id,
      summary,
      ...(description ? { description } : {}),
      tags: [tag],
      parameters: parametersOf(operation),
      ...(body ? { requestBody: { required: true, content: { "application/json": { schema: body } } } } : {}),
      responses: {
        ...responses,
        default: {
          description: "The request was refused or failed.",
          content: { "application/json": { schema: { $ref: "#/components/schemas/Error" } } },
        },
      },
      ...detail,
    };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Fine-Tune Lab",
      version,
      description: "One key, one base URL: `<server>/v1`.",
      ...(contact ? { contact: contact.includes("://") ? { url: contact } : { email: contact } } : {}),
    },
    paths,
    security: [{ key: [] }],
    components: {
      securitySchemes: { key: { type: "http", scheme: "bearer", description: "An API key `ftl-…`." } },
      schemas: { Error: ERROR },
    },
  };
}
