/**
 * OpenAI's own JavaScript client, unmodified, through a whole supervised job against a real server and a real trainer.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import OpenAI, { toFile } from "openai";
import { type Live, startLive, trainerMissing, until } from "../support/live.ts";
import { contractMissing, contractProblems } from "../support/openai-contract.ts";
import { importTinyModel, trainingLines } from "../support/tiny.ts";

const skip = trainerMissing;
const seen: { method: string; path: string; status: number; body: unknown; requestId: string | null }[] = [];
let live: Live;
let client: OpenAI;

/** The schema of each answer, by method and path. */
const SCHEMAS: [RegExp, string][] = [
  [/^POST \/v1\/fine_tuning\/alpha\/graders\/run/, "RunGraderResponse"],
  [/^POST \/v1\/fine_tuning\/alpha\/graders\/validate/, "ValidateGraderResponse"],
  [/^GET \/v1\/fine_tuning\/jobs\/[^/]+\/events/, "ListFineTuningJobEventsResponse"],
  [/^GET \/v1\/fine_tuning\/jobs\/[^/]+\/checkpoints/, "ListFineTuningJobCheckpointsResponse"],
  [/^GET \/v1\/fine_tuning\/jobs(\?.*)?$/, "ListPaginatedFineTuningJobsResponse"],
  [/^(GET|POST) \/v1\/fine_tuning\/jobs/, "FineTuningJob"],
  [/^POST \/v1\/uploads\/[^/]+\/parts/, "UploadPart"],
  [/^POST \/v1\/uploads/, "Upload"],
  [/^DELETE \/v1\/files/, "DeleteFileResponse"],
  [/^GET \/v1\/files(\?.*)?$/, "ListFilesResponse"],
  [/^(GET|POST) \/v1\/files(\/[^/]+)?$/, "OpenAIFile"],
  [/^DELETE \/v1\/models/, "DeleteModelResponse"],
  [/^GET \/v1\/models(\?.*)?$/, "ListModelsResponse"],
  [/^GET \/v1\/models/, "Model"],
  [/^POST \/v1\/chat\/completions/, "CreateChatCompletionResponse"],
];

async function recording(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  const request = new Request(input, init);
  const url = new URL(request.url);
  const answer = await fetch(request);
  if ((answer.headers.get("content-type") ?? "").includes("application/json")) {
    seen.push({
      method: request.method,
      path: url.pathname + url.search,
      status: answer.status,
      body: await answer.clone().json(),
      requestId: answer.headers.get("x-request-id"),
    });
  }
  return answer;
}

/**
 * The error of a call; null when it succeeded. The client's promises are lazy, so they are awaited here instead of with
 * `rejects`.
 */
async function refusal(call: PromiseLike<unknown>): Promise<unknown> {
  try {
    await call;
    return null;
  } catch (error) {
    return error;
  }
}

/**
 * Null where this machine cannot isolate Python graders, which has its own tests; any other error is thrown again.
 */
function refusedSandbox(error: unknown): null {
  if (error instanceof OpenAI.APIError && error.code === "sandbox_unavailable") return null;
  throw error;
}

/** Polls until the job has ended. */
function ended(id: string) {
  return until(
    `job ${id} to end`,
    async () => {
      const job = await client.fineTuning.jobs.retrieve(id);
      return ["succeeded", "failed", "cancelled"].includes(job.status) ? job : null;
    },
    120_000,
    300,
  );
}

describe.skipIf(skip !== null)(`the openai package from npm${skip ? ` (skipped: ${skip})` : ""}`, () => {
  beforeAll(async () => {
    live = await startLive();
    await importTinyModel(live);
    client = new OpenAI({ baseURL: `${live.url}/v1`, apiKey: live.key, fetch: recording as typeof fetch });
  }, 120_000);
  afterAll(() => live?.close());

  test("a job runs from upload to chat with the fine-tuned model and a checkpoint", async () => {
    const file = await client.files.create({
      file: await toFile(Buffer.from(trainingLines(40)), "bank.jsonl"),
      purpose: "fine-tune",
    });
    const ready = await client.files.waitForProcessing(file.id, { pollInterval: 100 });
    expect(ready.status).toBe("processed");
    const job = await client.fineTuning.jobs.create({
      model: "tiny",
      training_file: file.id,
      suffix: "bank-bot",
      seed: 42,
      metadata: { team: "support" },
      method: {
        type: "supervised",
        supervised: { hyperparameters: { n_epochs: 3, batch_size: 4, learning_rate_multiplier: "auto" } },
      },
    });
    expect(["validating_files", "queued", "running"]).toContain(job.status);
    expect(job.metadata).toEqual({ team: "support" });
    const done = await ended(job.id);
    expect(done.error?.message ?? null).toBeNull();
    expect(done.status).toBe("succeeded");
    expect(done.fine_tuned_model).toMatch(/^ft:tiny:[^:]+:bank-bot:[a-z0-9]+$/);
    expect(done.trained_tokens).toBeGreaterThan(100);
    const tuned = done.fine_tuned_model ?? "";

    const events = [];
    for await (const event of client.fineTuning.jobs.listEvents(job.id, { limit: 3 })) events.push(event);
    expect(events.length).toBeGreaterThan(6);
    expect(new Set(events.map((event) => event.id)).size).toBe(events.length);
    expect(events.some((event) => event.type === "metrics")).toBe(true);
    expect(events[0]?.created_at).toBeGreaterThanOrEqual(events.at(-1)?.created_at ?? 0);

    const checkpoints = [];
    for await (const checkpoint of client.fineTuning.jobs.checkpoints.list(job.id, { limit: 1 }))
      checkpoints.push(checkpoint);
    expect(checkpoints.length).toBeGreaterThan(0);
    const name = checkpoints[0]?.fine_tuned_model_checkpoint ?? "";
    expect(name).toContain(":ckpt-step-");

    const said = await client.chat.completions.create({
      model: tuned,
      messages: [{ role: "user", content: "My card was stolen" }],
      max_tokens: 8,
    });
    expect(said.model).toBe(tuned);
    expect(said.usage?.completion_tokens).toBeGreaterThan(0);
    const fromCheckpoint = await client.chat.completions.create({
      model: name,
      messages: [{ role: "user", content: "My card was stolen" }],
      max_completion_tokens: 4,
      temperature: 0,
    });
    expect(fromCheckpoint.choices[0]?.finish_reason).toMatch(/stop|length/);

    const stream = await client.chat.completions.create({
      model: tuned,
      messages: [{ role: "user", content: "My card was stolen" }],
      max_tokens: 6,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = "";
    let usage = 0;
    for await (const chunk of stream) {
      expect(contractMissing ? [] : contractProblems("CreateChatCompletionStreamResponse", chunk)).toEqual([]);
      text += chunk.choices[0]?.delta?.content ?? "";
      usage = chunk.usage?.completion_tokens ?? usage;
    }
    expect(usage).toBeGreaterThan(0);
    expect(typeof text).toBe("string");

    const results = done.result_files[0];
    expect(results).toBeDefined();
    expect(await (await client.files.content(results ?? "")).text()).toStartWith(
      "step,train_loss,train_accuracy,valid_loss",
    );

    const model = await client.models.retrieve(tuned);
    expect(model.id).toBe(tuned);
    const ids = [];
    for await (const entry of client.models.list()) ids.push(entry.id);
    expect(ids).toContain(tuned);
    expect(ids).toContain("tiny");
    expect((await client.models.delete(tuned)).deleted).toBe(true);
    expect(await refusal(client.models.retrieve(tuned))).toBeInstanceOf(OpenAI.NotFoundError);
  }, 180_000);

  test("an upload in parts becomes one file, and a wrong md5 is refused", async () => {
    const bytes = Buffer.from(trainingLines(60));
    const half = Math.floor(bytes.length / 2);
    const make = () =>
      client.uploads.create({
        bytes: bytes.length,
        filename: "big.jsonl",
        mime_type: "text/jsonl",
        purpose: "fine-tune",
      });
    const upload = await make();
    const [second, first] = await Promise.all([
      client.uploads.parts.create(upload.id, { data: await toFile(bytes.subarray(half), "b") }),
      client.uploads.parts.create(upload.id, { data: await toFile(bytes.subarray(0, half), "a") }),
    ]);
    const done = await client.uploads.complete(upload.id, {
      part_ids: [first.id, second.id],
      md5: createHash("md5").update(bytes).digest("hex"),
    });
    expect(done.status).toBe("completed");
    expect(await (await client.files.content(done.file?.id ?? "")).text()).toBe(bytes.toString());

    const bad = await make();
    const part = await client.uploads.parts.create(bad.id, { data: await toFile(bytes, "all") });
    expect(await refusal(client.uploads.complete(bad.id, { part_ids: [part.id], md5: "0".repeat(32) }))).toBeInstanceOf(
      OpenAI.BadRequestError,
    );
    const short = await make();
    const lone = await client.uploads.parts.create(short.id, { data: await toFile(bytes.subarray(0, 5), "x") });
    expect(await refusal(client.uploads.complete(short.id, { part_ids: [lone.id] }))).toBeInstanceOf(
      OpenAI.BadRequestError,
    );
    expect((await client.uploads.cancel(short.id)).status).toBe("cancelled");
  }, 60_000);

  test("an invalid line is reported by number, on the field of its file", async () => {
    const lines = trainingLines(12).trimEnd().split("\n");
    lines[6] = "{not json";
    const file = await client.files.create({
      file: await toFile(Buffer.from(lines.join("\n")), "bad.jsonl"),
      purpose: "fine-tune",
    });
    await client.files.waitForProcessing(file.id, { pollInterval: 100 });
    const failure = await client.fineTuning.jobs
      .create({ model: "tiny", training_file: file.id })
      .then(async (job) => (await ended(job.id)).error)
      .catch((error) => error);
    expect(failure.param).toBe("training_file");
    expect(failure.message).toContain("7");
  }, 60_000);

  test("pause, resume and cancel work, and illegal moves are refused once", async () => {
    const file = await client.files.create({
      file: await toFile(Buffer.from(trainingLines(40)), "long.jsonl"),
      purpose: "fine-tune",
    });
    const job = await client.fineTuning.jobs.create({
      model: "tiny",
      training_file: file.id,
      method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 50, batch_size: 1 } } },
    });
    await until(
      "the job to run",
      async () => (await client.fineTuning.jobs.retrieve(job.id)).status === "running",
      60_000,
    );
    expect(await refusal(client.files.delete(file.id))).toBeInstanceOf(OpenAI.APIError);
    await client.fineTuning.jobs.pause(job.id);
    await until(
      "the job to pause",
      async () => String((await client.fineTuning.jobs.retrieve(job.id)).status) === "paused",
      60_000,
    );
    const before = seen.length;
    expect(await refusal(client.fineTuning.jobs.pause(job.id))).toBeInstanceOf(OpenAI.BadRequestError);
    expect(seen.length - before).toBe(1);
    await client.fineTuning.jobs.resume(job.id);
    await until(
      "the job to run again",
      async () => (await client.fineTuning.jobs.retrieve(job.id)).status === "running",
      60_000,
    );
    await client.fineTuning.jobs.cancel(job.id);
    expect((await ended(job.id)).status).toBe("cancelled");
    // It may still stop: canceling it again changes nothing then, and is refused afterwards.
    await until(
      "the job to be over",
      async () => (await refusal(client.fineTuning.jobs.cancel(job.id))) instanceof OpenAI.BadRequestError,
      60_000,
    );
    expect(await refusal(client.fineTuning.jobs.resume(job.id))).toBeInstanceOf(OpenAI.BadRequestError);
    expect((await client.files.delete(file.id)).deleted).toBe(true);
  }, 180_000);

  test("a create request that the client retries creates one job", async () => {
    const file = await client.files.create({
      file: await toFile(Buffer.from(trainingLines(12)), "once.jsonl"),
      purpose: "fine-tune",
    });
    let failures = 1;
    const flaky = new OpenAI({
      baseURL: `${live.url}/v1`,
      apiKey: live.key,
      fetch: (async (input: RequestInfo | URL, init?: RequestInit) => {
        const answer = await fetch(input, init);
        if (failures-- > 0) return new Response("{}", { status: 503 });
        return answer;
      }) as typeof fetch,
    });
    const job = await flaky.fineTuning.jobs.create({ model: "tiny", training_file: file.id, suffix: "once" });
    const all = [];
    for await (const entry of client.fineTuning.jobs.list({ limit: 2 })) all.push(entry);
    const twins = all.filter((entry) => entry.training_file === file.id);
    expect(twins.map((entry) => entry.id)).toEqual([job.id]);
    await client.fineTuning.jobs.cancel(job.id).catch(() => null);
    await ended(job.id);
  }, 120_000);

  test("graders are validated and run, including a score-model grader and a failing Python grader", async () => {
    const { graders } = client.fineTuning.alpha;
    const exact = {
      type: "string_check",
      name: "exact",
      operation: "eq",
      input: "{{sample.output_text}}",
      reference: "{{item.label}}",
    } as const;
    expect(await graders.validate({ grader: exact })).toEqual({ grader: exact });
    const item = { label: "card_stolen" };
    expect((await graders.run({ grader: exact, model_sample: "card_stolen", item })).reward).toBe(1);
    const { operation: _operation, ...texts } = exact;
    const close = { ...texts, type: "text_similarity", name: "close", evaluation_metric: "rouge_1" } as const;
    expect((await graders.run({ grader: close, model_sample: "card stolen", item })).reward).toBeGreaterThanOrEqual(0);
    const judge = {
      type: "score_model",
      name: "judge",
      model: "tiny",
      input: [{ role: "user", content: "Grade {{sample.output_text}} from 0 to 1" }],
      sampling_params: { temperature: 0, max_completions_tokens: 8 },
    } as const;
    // Such a small model gives no grade: its tokens are counted, and a flag reports that its answer cannot be parsed.
    const judged = await graders.run({ grader: { ...judge, input: [...judge.input] }, model_sample: "x" });
    expect(judged.metadata.errors.model_grader_server_error_details).toBeNull();
    expect(judged.metadata.errors.model_grader_parse_error || judged.reward > 0).toBe(true);
    expect(judged.metadata.token_usage).toBeGreaterThan(0);
    const python = {
      type: "python",
      name: "p",
      source: "def grade(sample, item):\n  return 1 / item['zero']",
    } as const;
    const failing = await graders.run({ grader: python, model_sample: "x", item: { zero: 0 } }).catch(refusedSandbox);
    if (failing) {
      expect([failing.reward, failing.metadata.errors.python_grader_runtime_error]).toEqual([0, true]);
      expect(failing.metadata.errors.python_grader_runtime_error_details).toContain("ZeroDivisionError");
    }
    const wrong = await refusal(
      graders.run({ grader: { ...exact, reference: "{{item.lable}}" }, model_sample: "x", item }),
    );
    expect(wrong).toBeInstanceOf(OpenAI.BadRequestError);
    expect((wrong as InstanceType<typeof OpenAI.BadRequestError>).param).toBe("grader.reference");
  }, 120_000);

  test("errors arrive as the client's own classes", async () => {
    const wrong = new OpenAI({ baseURL: `${live.url}/v1`, apiKey: "ftl-wrong", maxRetries: 0 });
    expect(await refusal(wrong.models.list())).toBeInstanceOf(OpenAI.AuthenticationError);
    expect(
      await refusal(client.fineTuning.jobs.create({ model: "no-such-model", training_file: "file-x" })),
    ).toBeInstanceOf(OpenAI.APIError);
    expect(await refusal(client.fineTuning.jobs.retrieve("ftjob-none"))).toBeInstanceOf(OpenAI.NotFoundError);
    expect(
      await refusal(
        client.chat.completions.create({ model: "no-such-model", messages: [{ role: "user", content: "x" }] }),
      ),
    ).toBeInstanceOf(OpenAI.NotFoundError);
    const slash = await client.models.retrieve("ft:meta/llama-3:org:sfx:abc:ckpt-step-88").catch((error) => error);
    expect(slash).toBeInstanceOf(OpenAI.NotFoundError);
    expect(slash.message).toContain("ft:meta/llama-3:org:sfx:abc:ckpt-step-88");
  });

  test("every answer has a request id and matches OpenAI's own schema", () => {
    expect(seen.filter((entry) => !entry.requestId)).toEqual([]);
    const problems = seen.flatMap((entry) => {
      if (entry.status >= 400) return contractMissing ? [] : contractProblems("ErrorResponse", entry.body);
      const schema = SCHEMAS.find(([pattern]) => pattern.test(`${entry.method} ${entry.path}`))?.[1];
      if (!schema) return [`no schema for ${entry.method} ${entry.path}`];
      const body = entry.body as { status?: string };
      // `paused` is documented by OpenAI but missing from its enum.
      const value = schema === "FineTuningJob" && body.status === "paused" ? { ...body, status: "running" } : body;
      return contractMissing ? [] : contractProblems(schema, value);
    });
    expect([...new Set(problems)]).toEqual([]);
    expect(seen.length).toBeGreaterThan(20);
  });
});
