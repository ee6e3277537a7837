/** Requests with a field that no schema names: every route of the API refuses them and names the field. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createTestApp, type TestApp } from "../support/app.ts";
import { type Everything, makeEverything } from "../support/everything.ts";
import { BODIES, PARAMS, QUERIES } from "../support/requests.ts";

const FIELD = "no_such_field";
/** Engines define these fields: unknown ones are passed on. */
const PASSED_ON = ["POST /v1/chat/completions", "POST /v1/completions", "POST /v1/embeddings"];

interface Body {
  content: { "application/json": { schema: { anyOf?: { properties: object }[] } } };
}
interface Case {
  key: string;
  method: string;
  route: string;
  hasBody: boolean;
  hasQuery: boolean;
}

let app: TestApp;
let made: Everything;
const cases: Case[] = [];

beforeAll(async () => {
  app = await createTestApp();
  made = await makeEverything(app);
  for (const { method, path, hooks } of app.app.routes) {
    const key = `${method} ${path}`;
    if (!path.startsWith("/v1/") || PASSED_ON.includes(key)) continue;
    const hasBody = hooks?.body !== undefined || key in BODIES;
    const hasQuery = hooks?.query !== undefined || key in QUERIES;
    if (hasBody || hasQuery) cases.push({ key, method, route: path, hasBody, hasQuery });
  }
});
afterAll(() => app.close());

function addressOf({ key, route }: Case, more: Record<string, string> = {}): string {
  const start = Object.keys(PARAMS)
    .filter((prefix) => route.startsWith(prefix))
    .sort((a, b) => b.length - a.length)[0];
  const params = start ? (PARAMS[start]?.(made) ?? {}) : {};
  const path = route.replace(/:(\w+)\??|\*/g, (_, name: string | undefined) =>
    encodeURIComponent(params[name ?? "*"] ?? "unknown"),
  );
  const query = new URLSearchParams({ ...QUERIES[key]?.(made), ...more });
  return query.size ? `${path}?${query}` : path;
}

/** The valid body of a route with one field more. */
function bodyWith(key: string): { body?: unknown; form?: FormData } {
  const body = BODIES[key]?.(made) ?? {};
  if (!(body instanceof FormData)) return { body: { ...body, [FIELD]: 1 } };
  body.set(FIELD, "1");
  return { form: body };
}

/** Sends each case and lists the answers that do not refuse the field by its name. */
async function accepted(list: Case[], send: (each: Case) => Promise<Response>): Promise<string[]> {
  const found: string[] = [];
  for (const each of list) {
    const answer = await send(each);
    const text = await answer.text();
    const { error } = (answer.headers.get("content-type")?.includes("json") ? JSON.parse(text) : {}) as {
      error?: { code: string; param: string | null };
    };
    if (answer.status !== 400 || error?.code !== "unknown_parameter" || error.param !== FIELD)
      found.push(`${each.key} answered ${answer.status} ${text.slice(0, 200)}`);
  }
  return found;
}

describe("a field that no schema names is refused with its name", () => {
  test("in the body of every route that takes one", async () => {
    const list = cases.filter((each) => each.hasBody);
    expect(list.length).toBeGreaterThan(25);
    expect(
      await accepted(list, (each) => app.request(each.method, addressOf(each), { as: "admin", ...bodyWith(each.key) })),
    ).toEqual([]);
  });

  test("in the query of every route that takes one", async () => {
    const list = cases.filter((each) => each.hasQuery);
    expect(list.length).toBeGreaterThan(15);
    expect(
      await accepted(list, (each) => app.request(each.method, addressOf(each, { [FIELD]: "1" }), { as: "admin" })),
    ).toEqual([]);
  });

  test("also where a body is one of several objects, which the document still describes", async () => {
    const document = await app.json<{ paths: Record<string, Record<string, { requestBody: Body }>> }>(
      "GET",
      "/openapi.json",
    );
    for (const [path, fields] of [
      ["/v1/hosts/{id}", ["state", "maintenance", "name"]],
      ["/v1/evaluations", ["job", "model"]],
    ] as const) {
      const { anyOf } = document.paths[path]?.post?.requestBody.content["application/json"].schema ?? {};
      const described = anyOf?.map((option, at) => Object.keys(option.properties).includes(fields[at] ?? ""));
      expect(described).toEqual(fields.map(() => true));
    }
  });
});
