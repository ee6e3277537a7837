/** Errors as OpenAI's client raises them: the class by the status, and what the error says about the request. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import OpenAI from "openai";
import { createTestApp, type TestApp } from "../support/app.ts";
import { deployEngine, startEngine, type TestEngine } from "../support/engine.ts";
import { readyBase } from "../support/models.ts";

let app: TestApp;
let engine: TestEngine;
let client: OpenAI;

const clientOf = (on: TestApp, apiKey: string) =>
  new OpenAI({
    apiKey,
    baseURL: "http://localhost/v1",
    maxRetries: 0,
    fetch: ((input: RequestInfo | URL, init?: RequestInit) => on.app.handle(new Request(input, init))) as typeof fetch,
  });

beforeAll(async () => {
  app = await createTestApp();
  engine = startEngine();
  await readyBase(app.ctx, "tiny");
  await deployEngine(app.ctx, engine, { org: app.orgs.a, model: "tiny" });
  client = clientOf(app, app.keys.member);
});
beforeEach(() => {
  engine.instead = null;
});
afterAll(async () => {
  await engine.stop();
  await app.close();
});

const chat = (more: object = {}) =>
  client.chat.completions.create({ model: "tiny", messages: [{ role: "user", content: "Hi" }], ...more });

/** The error of a call. */
async function raised(call: PromiseLike<unknown>): Promise<InstanceType<typeof OpenAI.APIError>> {
  try {
    await call;
  } catch (error) {
    if (error instanceof OpenAI.APIError) return error;
    throw error;
  }
  throw new Error("the call succeeded");
}

const refuse = (status: number, error: unknown, headers: Record<string, string> = {}) => {
  engine.instead = () => Response.json(error, { status, headers });
};

describe("a request that the server refuses raises", () => {
  test.each([
    ["AuthenticationError", "invalid_api_key", () => clientOf(app, "ftl-wrong").models.list()],
    ["NotFoundError", "model_not_found", () => chat({ model: "none" })],
    ["NotFoundError", "file_not_found", () => client.files.retrieve("file-none")],
    ["BadRequestError", "invalid_value", () => chat({ messages: [] })],
    ["BadRequestError", "missing_required_parameter", () => client.post("/uploads", { body: {} })],
    ["PermissionDeniedError", "admin_only", () => client.get("/admin/users")],
  ] as const)("%s (%s)", async (name, code, call) => {
    const error = await raised(call());
    expect([error.constructor.name, error.code]).toEqual([name, code]);
    expect(error.requestID).toMatch(/^req_/);
  });

  test("RateLimitError above a key's limit, with the seconds to wait", async () => {
    const limited = await createTestApp({ config: { requests_per_minute: 1 } });
    const small = clientOf(limited, limited.keys.member);
    await small.models.list();
    const error = await raised(small.models.list());
    expect([error.constructor.name, error.code, error.headers?.get("retry-after")]).toEqual([
      "RateLimitError",
      "rate_limit_exceeded",
      "60",
    ]);
    await limited.close();
  });
});

describe("a refusal of the engine keeps its class, field and code", () => {
  test("too busy is RateLimitError with its seconds to wait", async () => {
    const message = "17 requests wait already; try again later.";
    refuse(429, { error: { message, type: "rate_limit_error", param: null, code: "busy" } }, { "retry-after": "7" });
    const error = await raised(chat());
    expect([error.constructor.name, error.type, error.headers?.get("retry-after")]).toEqual([
      "RateLimitError",
      "rate_limit_error",
      "7",
    ]);
  });

  test("a crash is InternalServerError", async () => {
    refuse(500, { error: { message: "CUDA error at 0x7f", type: "server_error", param: null, code: null } });
    const error = await raised(chat());
    expect([error.constructor.name, error.code]).toEqual(["InternalServerError", "engine_failed"]);
    expect(error.message).not.toContain("CUDA");
  });

  test.each([
    [
      "as this server's engine says it",
      {
        error: {
          message:
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 9031 tokens. Please reduce the length of the messages. (context_length_exceeded)",
          type: "invalid_request_error",
          param: "messages",
          code: "context_length_exceeded",
        },
      },
      "messages",
    ],
    [
      "as vLLM says it",
      {
        error: {
          message:
            "This model's maximum context length is 8192 tokens. However, you requested 9031 tokens (9015 in the messages, 16 in the completion). Please reduce the length of the messages or completion.",
          type: "BadRequestError",
          param: null,
          code: 400,
        },
      },
      null,
    ],
    [
      "as older vLLM says it",
      {
        object: "error",
        message: "This model's maximum context length is 8192 tokens. However, you requested 9031 tokens",
        type: "BadRequestError",
        param: null,
        code: 400,
      },
      null,
    ],
  ])("a prompt that is too long, %s, has the words and the code that clients look for", async (_, body, param) => {
    refuse(400, body);
    const error = await raised(chat());
    expect([error.constructor.name, error.code, error.type, error.param ?? null]).toEqual([
      "BadRequestError",
      "context_length_exceeded",
      "invalid_request_error",
      param,
    ]);
    expect(error.message).toContain("This model's maximum context length is 8192 tokens. However, you");
    expect(error.message.match(/context_length_exceeded/g)).toHaveLength(1);
  });

  test("a refused schema is not repeated", async () => {
    refuse(400, {
      error: {
        message:
          "1 validation error for ChatCompletionRequest\nresponse_format.json_schema.schema\n  Input should be a valid dictionary [type=dict_type, input_value={'secret': {'type': 'string'}}, input_type=list]\n    For further information visit https://errors.pydantic.dev/2.11/v/dict_type",
        type: "BadRequestError",
        param: "response_format",
        code: 400,
      },
    });
    const error = await raised(chat());
    expect([error.param, error.code]).toEqual(["response_format", null]);
    expect(error.message).toContain("Input should be a valid dictionary");
    expect(error.message).not.toMatch(/secret|pydantic\.dev/);
    refuse(400, { error: { message: `No: ${"x".repeat(50_000)}`, type: "BadRequestError", param: null, code: 400 } });
    expect((await raised(chat())).message.length).toBeLessThan(1100);
  });
});
