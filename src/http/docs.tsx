/** Elysia plugin with the API reference: `/openapi.json` for programs, `/docs` for people. */
import { type AnyElysia, Elysia } from "elysia";
import { ApiPage, type DocumentedRoute } from "../../views/pages/docs/api.tsx";
import { VERSION } from "../assets.ts";
import type { Ctx } from "../ctx.ts";
import { html, pageOf } from "./html.ts";
import { documentOf, type Operation, operationsOf } from "./openapi.ts";
import { session } from "./session.ts";

type Json = Record<string, unknown>;

/** A short description of a schema: `string`, `integer or null`, `"a" or "b"`. */
function typeOf(schema: Json): string {
  if (Array.isArray(schema.enum)) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  if ("const" in schema) return JSON.stringify(schema.const);
  if (Array.isArray(schema.anyOf)) return [...new Set(schema.anyOf.map((each) => typeOf(each as Json)))].join(" or ");
  if (schema.type === "array") return `list of ${typeOf((schema.items ?? {}) as Json)}`;
  return typeof schema.type === "string" ? schema.type : "any";
}

function fieldsOf(schema: Json | null, where: "query" | "body"): DocumentedRoute["fields"] {
  const required = (schema?.required ?? []) as string[];
  return Object.entries((schema?.properties ?? {}) as Record<string, Json>).map(([name, each]) => ({
    name,
    where,
    type: typeOf(each),
    required: required.includes(name),
  }));
}

function documented(operation: Operation): DocumentedRoute {
  const inPath = [...operation.path.matchAll(/\{(\w+)\}/g)].map((match) => ({
    name: match[1] ?? "",
    where: "path" as const,
    type: "string",
    required: true,
  }));
  const { method, path, summary, description, access } = operation;
  return {
    method,
    path,
    summary,
    description,
    adminOnly: access === "admin",
    fields: [...inPath, ...fieldsOf(operation.query, "query"), ...fieldsOf(operation.body, "body")],
  };
}

/** @param app the described application; called on the first request, when all routes are registered */
export const apiDocs = (ctx: Ctx, app: () => AnyElysia) => {
  let document: Json | null = null;
  let groups: { tag: string; routes: DocumentedRoute[] }[] | null = null;
  return new Elysia({ name: "docs", seed: ctx.installation })
    .use(session(ctx))
    .get("/openapi.json", () => {
      document ??= documentOf(app(), VERSION);
      return document;
    })
    .get("/docs", ({ request, actor }) => {
      groups ??= Object.entries(Object.groupBy(operationsOf(app()), (each) => each.tag)).map(([tag, each]) => ({
        tag,
        routes: (each ?? []).map(documented),
      }));
      const origin = ctx.config.public_url?.replace(/\/$/, "") ?? new URL(request.url).origin;
      return html(pageOf(ctx, request, actor), <ApiPage baseUrl={`${origin}/v1`} groups={groups} />);
    });
};
