/**
 * A small engine that responds like a trainer of kind `serve`, on a Unix socket, and can be made slow, failing or dead.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Ctx } from "../../src/ctx.ts";
import { deployment } from "../../src/db/schema/deployments.ts";
import { newId } from "../../src/lib/ids.ts";
import { insertJob, serveSpec } from "./models.ts";

interface EngineRequest {
  path: string;
  body: Record<string, unknown>;
}

export interface TestEngine {
  address: string;
  requests: EngineRequest[];
  adapters: Set<string>;
  /** Requests whose asker went before the answer was whole. */
  aborted: number;
  /** Milliseconds between the words of a stream. */
  pace: number;
  /** Id of its completions. */
  id: string;
  /** Words of an answer. */
  words: string[];
  /** Tools that an answer calls after its words. */
  calls: { name: string; arguments: string }[];
  /** Breaks a stream off after this number of words: by an error object, by closing the connection, or not at all. */
  fail: { after: number; how: "error" | "close" } | null;
  /** Answers this instead of completing. */
  instead: (() => Response | Promise<Response>) | null;
  healthy: boolean;
  /** Refuses to load adapters. */
  fixed: boolean;
  stop(): Promise<void>;
}

const encoder = new TextEncoder();
const event = (value: unknown) => encoder.encode(`data: ${JSON.stringify(value)}\n\n`);

/** Starts an engine on a fresh socket, or on `path`. */
export function startEngine(path?: string): TestEngine {
  const dir = path ? null : mkdtempSync(join(tmpdir(), "ftl-engine-"));
  const socket = path ?? join(dir ?? "", "serve.sock");
  const engine: TestEngine = {
    address: `unix:${socket}`,
    requests: [],
    adapters: new Set(),
    aborted: 0,
    pace: 0,
    id: "chatcmpl-test",
    words: ["Hel", "lo", " wor", "ld"],
    calls: [],
    fail: null,
    instead: null,
    healthy: true,
    fixed: false,
    stop: async () => {
      await server.stop(true);
      if (dir) rmSync(dir, { recursive: true, force: true });
    },
  };
  const usage = () => ({
    prompt_tokens: 7,
    completion_tokens: engine.words.length,
    total_tokens: 7 + engine.words.length,
  });
  const server = Bun.serve({
    unix: socket,
    error: () => new Response("broken", { status: 500 }),
    async fetch(request) {
      const { pathname } = new URL(request.url);
      if (pathname === "/health") return new Response(null, { status: engine.healthy ? 200 : 503 });
      const body = request.method === "POST" ? ((await request.json()) as Record<string, unknown>) : {};
      if (pathname === "/v1/load_lora_adapter") {
        const { lora_name: name, lora_path: path, load_inplace: replace } = body;
        if (
          engine.fixed ||
          typeof name !== "string" ||
          typeof path !== "string" ||
          (engine.adapters.has(name) && replace !== true)
        )
          return Response.json(
            { error: { message: "no", type: "InvalidUserInput", param: null, code: 400 } },
            { status: 400 },
          );
        engine.adapters.add(name);
        return new Response(`Success: LoRA adapter '${name}' added successfully.`);
      }
      engine.requests.push({ path: pathname, body });
      if (engine.instead) return engine.instead();
      if (pathname === "/v1/embeddings") return Response.json(embeddingsOf(body));
      const common = { id: engine.id, created: 1_760_000_000, model: body.model };
      if (!body.stream)
        return Response.json({
          ...common,
          object: "chat.completion",
          choices: [{ index: 0, message: messageOf(engine), logprobs: null, finish_reason: finishOf(engine, body) }],
          usage: usage(),
        });
      const wantsUsage = (body.stream_options as { include_usage?: boolean } | undefined)?.include_usage === true;
      request.signal.addEventListener("abort", () => engine.aborted++);
      return new Response(streamOf(words(engine, common, wantsUsage ? usage() : null, finishOf(engine, body))), {
        headers: { "content-type": "text/event-stream; charset=utf-8" },
      });
    },
  });
  return engine;
}

/** Embeddings of 26 numbers: how often each letter occurs, of length 1. */
function embeddingsOf({ model, input, encoding_format: format }: Record<string, unknown>) {
  const texts = [input].flat() as string[];
  const data = texts.map((text, index) => {
    const counts = Array.from(
      { length: 26 },
      (_, n) => text.toLowerCase().split(String.fromCharCode(97 + n)).length - 1,
    );
    const length = Math.hypot(...counts) || 1;
    const vector = counts.map((count) => count / length);
    const bytes = Buffer.from(new Float32Array(vector).buffer);
    return { object: "embedding", index, embedding: format === "base64" ? bytes.toString("base64") : vector };
  });
  const tokens = texts.join("").length;
  return { object: "list", data, model, usage: { prompt_tokens: tokens, total_tokens: tokens } };
}

function streamOf(pieces: AsyncGenerator<Uint8Array<ArrayBuffer>>): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await pieces.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    async cancel() {
      await pieces.return(undefined);
    },
  });
}

const toolCalls = (engine: TestEngine) =>
  engine.calls.map((call, index) => ({ index, id: `call_${index}`, type: "function", function: call }));

/** `length` for an answer longer than the request allows; a word counts as a token. */
function finishOf(engine: TestEngine, body: Record<string, unknown>): string {
  const limit = body.max_completion_tokens ?? body.max_tokens;
  if (typeof limit === "number" && limit < engine.words.length) return "length";
  return engine.calls.length > 0 ? "tool_calls" : "stop";
}

function messageOf(engine: TestEngine) {
  const content = engine.words.length > 0 ? engine.words.join("") : null;
  return {
    role: "assistant",
    content,
    refusal: null,
    ...(engine.calls.length > 0 ? { tool_calls: toolCalls(engine) } : {}),
  };
}

async function* words(engine: TestEngine, common: object, usage: object | null, end: string) {
  const chunk = (delta: object, finish: string | null = null) =>
    event({ ...common, object: "chat.completion.chunk", choices: [{ index: 0, delta, finish_reason: finish }] });
  yield chunk({ role: "assistant", content: "" });
  for (const [n, word] of engine.words.entries()) {
    if (engine.fail?.after === n) {
      if (engine.fail.how === "close") return;
      yield event({ error: { message: "generation failed", type: "server_error", param: null, code: "engine_error" } });
      return;
    }
    if (engine.pace > 0) await Bun.sleep(engine.pace);
    yield chunk({ content: word });
  }
  for (const { function: call, ...rest } of toolCalls(engine)) {
    yield chunk({ tool_calls: [{ ...rest, function: { name: call.name, arguments: "" } }] });
    for (const piece of call.arguments.match(/.{1,8}/gs) ?? [])
      yield chunk({ tool_calls: [{ index: rest.index, function: { arguments: piece } }] });
  }
  yield chunk({}, end);
  if (usage) yield event({ ...common, object: "chat.completion.chunk", choices: [], usage });
  yield encoder.encode("data: [DONE]\n\n");
}

/** Rows as they are when `engine` serves `model`: a running serve job, and a deployment that is ready. */
export async function deployEngine(
  ctx: Ctx,
  engine: { address: string },
  values: { org: string; model: string; base?: string; adapters?: { name: string; artifactId: string }[] } & Partial<
    typeof deployment.$inferInsert
  >,
): Promise<{ id: string; jobId: string }> {
  const { base = "tiny", adapters = [], org, model, ...rest } = values;
  const jobId = await insertJob(ctx, { org, kind: "serve", state: "running", spec: serveSpec(base, adapters) });
  const id = newId("deployment");
  await ctx.write((tx) =>
    tx.insert(deployment).values({
      id,
      org,
      name: model,
      model,
      baseModelId: base,
      wanted: "running",
      state: "ready",
      jobId,
      address: engine.address,
      createdBy: "system",
      createdAt: ctx.clock.now(),
      healthyAt: ctx.clock.now(),
      ...rest,
    }),
  );
  ctx.bus.emit("deployment.changed", { org, deploymentId: id, state: "ready" });
  return { id, jobId };
}
