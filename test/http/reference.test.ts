/** The API reference: its order, its filter, and examples that the routes' own schemas accept. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import * as v from "valibot";
import { BODIES } from "../../src/http/examples.ts";
import { createTestApp, type TestApp } from "../support/app.ts";

let t: TestApp;
beforeAll(async () => {
  t = await createTestApp();
});
afterAll(() => t?.close());

const page = async (query = "") => (await t.request("GET", `/docs${query}`)).text();
const isSchema = (value: unknown): value is v.GenericSchema =>
  typeof value === "object" && value !== null && "~standard" in value && "kind" in value;

test("every example body is accepted by its route, and every route with a JSON body has one", () => {
  const refused: string[] = [];
  for (const { method, path, hooks } of t.app.routes) {
    if (!path.startsWith("/v1/") || hooks?.detail?.hide === true) continue;
    const key = `${method} ${path.replace(/:(\w+)\??/g, "{$1}")}`;
    const schema = hooks?.body ?? hooks?.detail?.requestBody?.content?.["application/json"]?.schema;
    if (!isSchema(schema)) continue;
    if (!(key in BODIES)) refused.push(`${key}: no example`);
    else {
      const parsed = v.safeParse(schema, BODIES[key]);
      if (!parsed.success) refused.push(`${key}: ${v.getDotPath(parsed.issues[0])} ${parsed.issues[0].message}`);
    }
  }
  expect(refused).toEqual([]);
});

test("the page begins with files, fine-tuning, jobs and chat, and ends with administration", async () => {
  const tags = [...(await page()).matchAll(/<h2>([^<]+)<\/h2>/g)].map((match) => match[1]);
  const shown = tags.filter((tag) => tag !== "Keyboard shortcuts");
  expect(shown.slice(0, 4)).toEqual(["Files", "Fine-tuning", "Jobs", "Chat"]);
  expect(shown.at(-1)).toBe("Administration");
});

test("the filter keeps the routes that have every word", async () => {
  const text = await page("?q=post+chat");
  expect(text).toContain("POST /v1/chat/completions");
  expect(text).not.toContain("GET /v1/files");
  expect(await page("?q=no-such-thing")).toContain("No matches");
});

test("a route has a curl command and a call of OpenAI's client", async () => {
  const text = await page("?q=/v1/fine_tuning/jobs+create");
  expect(text).toContain("curl http://localhost/v1/fine_tuning/jobs \\\n");
  expect(text).toContain(
    `client.fine_tuning.jobs.create(model=&quot;smollm2-135m-instruct&quot;, training_file=&quot;file-abc&quot;)`,
  );
});
