/** Checks real answers against the schemas their routes name: one difference and the test that saw it fails. */
import type { AnyElysia } from "elysia";
import * as v from "valibot";

interface Documented {
  method: string;
  pattern: RegExp;
  path: string;
  schema: v.GenericSchema;
}

/** The schema of a route's JSON answer, or null where it names none. */
function answerSchema(detail: unknown): v.GenericSchema | null {
  const { responses } = (detail ?? {}) as {
    responses?: Record<string, { content?: Record<string, { schema: unknown }> }>;
  };
  const schema = responses?.["200"]?.content?.["application/json"]?.schema;
  return typeof schema === "object" && schema !== null && "~run" in schema ? (schema as v.GenericSchema) : null;
}

/** Makes the check for one application; it reads a copy of the answer and leaves the answer itself untouched. */
export function answerCheck(app: AnyElysia): (method: string, url: string, answer: Response) => Promise<void> {
  let routes: Documented[] | null = null;
  const read = (): Documented[] =>
    app.routes.flatMap((route) => {
      const schema = answerSchema(route.hooks?.detail);
      const pattern = new RegExp(`^${route.path.replace(/:\w+\??/g, "[^/]+").replace(/\*$/, ".*")}$`);
      return schema ? [{ method: route.method, pattern, path: route.path, schema }] : [];
    });
  return async (method, url, answer) => {
    if (answer.status !== 200 || !answer.headers.get("content-type")?.startsWith("application/json")) return;
    routes ??= read();
    const path = url.split("?")[0] ?? "";
    const found = routes
      .filter((route) => route.method === method && route.pattern.test(path))
      // A literal path wins over one with a parameter.
      .sort((a, b) => Number(a.path.includes(":")) - Number(b.path.includes(":")))[0];
    if (!found) return;
    const result = v.safeParse(found.schema, await answer.clone().json());
    if (result.success) return;
    const issues = result.issues.slice(0, 5).map((issue) => `  ${v.getDotPath(issue) ?? "(all)"}: ${issue.message}`);
    throw new Error(`The answer of ${method} ${found.path} is not as its schema says:\n${issues.join("\n")}`);
  };
}
