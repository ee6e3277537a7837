/** Clients that send unset options as null: every optional field of OpenAI's routes may be null. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createTestApp, type TestApp } from "../support/app.ts";
import { deployEngine, startEngine, type TestEngine } from "../support/engine.ts";
import { type Everything, makeEverything } from "../support/everything.ts";
import { BODIES, PARAMS } from "../support/requests.ts";

/** Routes of OpenAI's API; what else is below /v1 is our own. */
const OPENAI =
  /^\/v1\/(files|uploads|models|fine_tuning|chat|completions|embeddings|responses|moderations|batches|evals)(\/|$)(?!:id\/(?:exports|pushes))/;

interface Schema {
  type?: string;
  properties?: Record<string, Schema>;
  required?: string[];
}

let app: TestApp;
let engine: TestEngine;
let made: Everything;

beforeAll(async () => {
  app = await createTestApp();
  made = await makeEverything(app);
  engine = startEngine();
  await deployEngine(app.ctx, engine, { org: app.orgs.a, model: made.model, base: made.base });
});
afterAll(async () => {
  await engine.stop();
  await app.close();
});

/** `value` with null for every optional field of `schema` that it does not set, at any depth. */
function withNulls(schema: Schema, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const filled: Record<string, unknown> = { ...value };
  for (const [name, field] of Object.entries(schema.properties ?? {})) {
    if (name in filled) filled[name] = withNulls(field, filled[name]);
    else if (!schema.required?.includes(name)) filled[name] = null;
  }
  return filled;
}

test("every optional field of every route of OpenAI's API may be null", async () => {
  const { paths } = await app.json<{ paths: Record<string, Record<string, { requestBody?: unknown }>> }>(
    "GET",
    "/openapi.json",
  );
  const refused: string[] = [];
  let asked = 0;
  for (const { method, path } of app.app.routes) {
    const key = `${method} ${path}`;
    const body = BODIES[key]?.(made);
    if (!OPENAI.test(path) || body === undefined || body instanceof FormData) continue;
    const described = paths[path.replace(/:(\w+)/g, "{$1}")]?.[method.toLowerCase()]?.requestBody as
      | { content: { "application/json": { schema: Schema } } }
      | undefined;
    const schema = described?.content["application/json"].schema;
    if (!schema) throw new Error(`${key} has no documented body`);
    const params = Object.entries(PARAMS).find(([start]) => path.startsWith(start))?.[1](made) ?? {};
    const address = path.replace(/:(\w+)/g, (_, name: string) => encodeURIComponent(params[name] ?? "x"));
    const plain = await app.request(method, address, { body });
    const nulls = await app.request(method, address, { body: withNulls(schema, body) });
    asked++;
    const [status, text] = [nulls.status, (await nulls.text()).slice(0, 300)];
    if (status !== plain.status) refused.push(`${key}: ${plain.status} without nulls, ${status} with: ${text}`);
  }
  expect(asked).toBeGreaterThan(6);
  expect(refused).toEqual([]);
});

test("nulls of a chat never reach the engine; content null, which a message may have, does", async () => {
  engine.requests.length = 0;
  const given = {
    model: made.model,
    messages: [
      { role: "user", content: "hi", name: null },
      { role: "assistant", content: null, refusal: null, tool_calls: null },
    ],
    n: null,
    presence_penalty: null,
    logprobs: null,
    tool_choice: null,
    some_option_of_an_engine: null,
    stream_options: null,
    response_format: { type: "json_schema", json_schema: { name: "a", strict: null, schema: { enum: [null] } } },
  };
  const answer = await app.request("POST", "/v1/chat/completions", { body: given });
  expect(answer.status).toBe(200);
  const { model, ...sent } = engine.requests.at(-1)?.body ?? {};
  expect(sent).toEqual({
    messages: [
      { role: "user", content: "hi" },
      { role: "assistant", content: null },
    ],
    response_format: { type: "json_schema", json_schema: { name: "a", schema: { enum: [null] } } },
  });
});
