/** Embeddings through the gateway, as OpenAI's client asks for them. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import OpenAI from "openai";
import { inference } from "../../src/db/schema/gateway.ts";
import { flushUsage } from "../../src/serving/gateway/usage.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { deployEngine, startEngine, type TestEngine } from "../support/engine.ts";
import { readyBase } from "../support/models.ts";
import { contractMissing, contractProblems } from "../support/openai-contract.ts";

let app: TestApp;
let engine: TestEngine;
let client: OpenAI;

beforeAll(async () => {
  app = await createTestApp();
  engine = startEngine();
  await readyBase(app.ctx, "tiny");
  await deployEngine(app.ctx, engine, { org: app.orgs.a, model: "tiny" });
  client = new OpenAI({
    apiKey: app.keys.member,
    baseURL: "http://localhost/v1",
    maxRetries: 0,
    fetch: ((input: RequestInfo | URL, init?: RequestInit) => app.app.handle(new Request(input, init))) as typeof fetch,
  });
});
beforeEach(() => {
  engine.instead = null;
  engine.requests.length = 0;
});
afterAll(async () => {
  await engine.stop();
  await app.close();
});

const embed = (body: object, as: "member" | "other" = "member") =>
  app.request("POST", "/v1/embeddings", { as, body: { model: "tiny", ...body } });
const refusal = async (answer: Response) => {
  const { error } = (await answer.json()) as { error: { code: string; param: string | null } };
  return [answer.status, error.code, error.param];
};

describe("embeddings", () => {
  test("arrive as numbers in OpenAI's client, which asks for base64, and in OpenAI's form otherwise", async () => {
    const { data, model } = await client.embeddings.create({ model: "tiny", input: ["ab", "b"] });
    expect(engine.requests[0]).toMatchObject({ path: "/v1/embeddings", body: { encoding_format: "base64" } });
    expect([model, data.map((each) => each.index)]).toEqual(["tiny", [0, 1]]);
    expect(data[0]?.embedding.slice(0, 3)).toEqual([
      expect.closeTo(Math.SQRT1_2, 6),
      expect.closeTo(Math.SQRT1_2, 6),
      0,
    ]);
    const plain = await (await embed({ input: "b", dimensions: null, encoding_format: null, user: null })).json();
    if (!contractMissing) expect(contractProblems("CreateEmbeddingResponse", plain)).toEqual([]);
    expect(plain).toMatchObject({ data: [{ embedding: [0, 1, ...new Array(24).fill(0)] }] });
  });

  test("write a usage row with input tokens only", async () => {
    const id = (await embed({ input: "12345" })).headers.get("x-request-id");
    await flushUsage(app.ctx);
    const rows = await app.ctx.db.select().from(inference);
    const own = rows.filter((row) => row.id === id);
    expect(own.length).toBe(1);
    expect(own[0]).toMatchObject({
      model: "tiny",
      keyId: app.keyIds.member,
      status: 200,
      streamed: false,
      promptTokens: 5,
      completionTokens: 0,
      finish: null,
    });
  });

  test.each([
    [{ input: "" }, 200],
    [{ input: [] }, [400, "invalid_value", "input"]],
    [{ input: {} }, [400, "invalid_value", "input"]],
    [{}, [400, "invalid_value", "input"]],
    [{ input: "a", stream: true }, [400, "invalid_value", "stream"]],
    [{ input: "a", model: "none" }, [404, "model_not_found", "model"]],
  ] as const)("%j is answered %j", async (body, wanted) => {
    const answer = await embed(body);
    expect(answer.ok ? answer.status : await refusal(answer)).toEqual(wanted as never);
  });

  test("are refused by name where the engine has no embeddings", async () => {
    for (const instead of [
      () => Response.json({ detail: "Not Found" }, { status: 404 }),
      () => new Response("no such path", { status: 404 }),
    ]) {
      engine.instead = instead;
      expect(await refusal(await embed({ input: "a" }))).toEqual([400, "embeddings_not_supported", "model"]);
    }
  });
});
