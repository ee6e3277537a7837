/** Elysia plugin with the API reference: `/openapi.json` for programs, `/docs` for people. */
import { type AnyElysia, Elysia } from "elysia";
import { ApiGroups, ApiPage, type DocumentedRoute } from "../../views/pages/docs/api.tsx";
import { VERSION } from "../assets.ts";
import type { Ctx } from "../ctx.ts";
import { curlOf, pythonOf } from "./examples.ts";
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

/** What most people look for first; the rest follows in the order of registration, administration last. */
const FIRST = ["Files", "Fine-tuning", "Jobs", "Chat", "Models", "Datasets", "Deployments", "Evaluations"];
const LAST = ["Keys", "Hosts", "Administration"];
const rank = (tag: string) => {
  const [first, last] = [FIRST.indexOf(tag), LAST.indexOf(tag)];
  return first >= 0 ? first : last >= 0 ? 1000 + last : 100;
};

function documented(operation: Operation, origin: string): DocumentedRoute {
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
    curl: curlOf(operation, origin),
    python: pythonOf(operation),
    fields: [...inPath, ...fieldsOf(operation.query, "query"), ...fieldsOf(operation.body, "body")],
  };
}

/** @param app the described application; called on the first request, when all routes are registered */
export const apiDocs = (ctx: Ctx, app: () => AnyElysia) => {
  let document: Json | null = null;
  let operations: Operation[] | null = null;
  return new Elysia({ name: "docs", seed: ctx.installation })
    .use(session(ctx))
    .get("/openapi.json", () => {
      document ??= documentOf(app(), VERSION, ctx.config.contact_address);
      return document;
    })
    .get("/docs", ({ request, actor, query }) => {
      const origin = ctx.config.public_url?.replace(/\/$/, "") ?? new URL(request.url).origin;
      operations ??= operationsOf(app());
      const words = String(query.q ?? "")
        .toLowerCase()
        .split(/\s+/)
        .filter(Boolean);
      const matches = ({ method, path, summary, tag }: Operation) => {
        const text = `${method} ${path} ${summary} ${tag}`.toLowerCase();
        return words.every((word) => text.includes(word));
      };
      const groups = Object.entries(Object.groupBy(operations.filter(matches), (each) => each.tag))
        .sort(([a], [b]) => rank(a) - rank(b))
        .map(([tag, each]) => ({ tag, routes: (each ?? []).map((one) => documented(one, origin)) }));
      const props = { baseUrl: `${origin}/v1`, groups };
      return html(pageOf(ctx, request, actor), <ApiPage {...props} />, {
        fragments: { api: () => <ApiGroups {...props} /> },
      });
    });
};
