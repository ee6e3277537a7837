/**
 * Reinforcement over HTTP: OpenAI's method and ours, graders checked against the rows before launch, and grading for a
 * trainer.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import type { TrainSpec } from "../../src/contract/spec.ts";
import { inference } from "../../src/db/schema/gateway.ts";
import { job } from "../../src/db/schema/jobs.ts";
import { pythonRunner } from "../../src/graders/python.ts";
import { createGrading } from "../../src/graders/training.ts";
import { parseExact, writeExact } from "../../src/lib/text/exact-json.ts";
import { flushUsage } from "../../src/serving/gateway/usage.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { makeTrainer, trainSpec } from "../support/attempt.ts";
import { deployEngine, startEngine } from "../support/engine.ts";
import { check } from "../support/graders.ts";
import { until } from "../support/live.ts";
import { readyBase } from "../support/models.ts";
import { contractMissing, contractProblems } from "../support/openai-contract.ts";

const RIGHT = check("eq", "{{sample.output_text}}", "{{item.answer}}");
const JOBS = "/v1/fine_tuning/jobs";
let t: TestApp;
let file = "";

interface Job {
  id: string;
  status: string;
  method: { type: string; reinforcement: { grader: unknown; hyperparameters: Record<string, unknown> } };
}

beforeAll(async () => {
  t = await createTestApp();
  await readyBase(t.ctx, "tiny");
  const form = new FormData();
  form.set("purpose", "fine-tune");
  const lines = Array.from({ length: 30 }, (_, i) =>
    JSON.stringify({
      messages: [{ role: "user", content: `What is ${i} + ${i}?` }],
      answer: String(2 * i),
      working: "and ".repeat(3000),
      ...(i === 20 ? {} : { hint: "add" }),
    }),
  );
  form.set("file", new File([`${lines.join("\n")}\n`], "sums.jsonl"));
  file = (await t.json<{ id: string }>("POST", "/v1/files", { raw: form })).id;
  await until("the file", async () => (await t.json("GET", `/v1/files/${file}`)).status === "processed", 45_000, 20);
});
afterAll(() => t.close());

const create = (reinforcement: object, extra: object = {}) =>
  t.request("POST", JOBS, {
    body: { model: "tiny", training_file: file, method: { type: "reinforcement", reinforcement }, ...extra },
  });
const refused = async (answer: Response) => {
  const { error } = (await answer.json()) as { error: { code: string; param: string; message: string } };
  return { status: answer.status, ...error };
};

describe("OpenAI's method reinforcement", () => {
  test("with a grader whose template renders a row to more than 2 Mi characters is refused", async () => {
    const grader = check("eq", "{{item.working}}".repeat(200), "x");
    const answer = await refused(await create({ grader }));
    expect([answer.status, answer.code, answer.param]).toEqual([
      400,
      "invalid_template",
      "method.reinforcement.grader.input",
    ]);
    expect(answer.message).toContain("on row 1: the filled text is longer than 2 Mi characters");
  });

  test("becomes GRPO with a frozen grader, and is returned in OpenAI's form", async () => {
    const hyperparameters = {
      n_epochs: 2,
      batch_size: 4,
      learning_rate_multiplier: 0.5,
      compute_multiplier: 0.5,
      eval_interval: 3,
      eval_samples: 1,
      reasoning_effort: "default",
    };
    const answer = await create({ grader: RIGHT, hyperparameters });
    expect([answer.status, answer.ok ? "" : await answer.clone().text()]).toEqual([200, ""]);
    const made = (await answer.json()) as Job;
    expect(contractMissing ? [] : contractProblems("FineTuningJob", made)).toEqual([]);
    expect(made.method).toEqual({
      type: "reinforcement",
      reinforcement: { grader: RIGHT, hyperparameters },
    });
    const { spec } = await t.json<{ spec: TrainSpec }>("GET", `/v1/jobs/${made.id}`);
    expect(spec.method).toMatchObject({ type: "grpo", num_generations: 4, grader: RIGHT });
    expect([spec.dataset.row_type, spec.schedule.eval_every, spec.evaluate_after]).toEqual(["prompt", 3, false]);
  });

  test("left at auto is returned with the numbers that are used", async () => {
    const made = (await (await create({ grader: RIGHT })).json()) as Job;
    const { spec } = await t.json<{ spec: TrainSpec }>("GET", `/v1/jobs/${made.id}`);
    expect(made.method.reinforcement.hyperparameters).toEqual({
      n_epochs: spec.hyperparameters.n_epochs,
      batch_size: spec.hyperparameters.batch_size,
      learning_rate_multiplier: 1,
      compute_multiplier: 1,
      eval_interval: spec.schedule.eval_every,
      eval_samples: 1,
      reasoning_effort: "default",
    });
    expect(spec.method).toMatchObject({ num_generations: 8 });
  });

  test.each([
    [{}, {}, "method.reinforcement.grader"],
    [{ grader: { ...RIGHT, operation: "same" } }, {}, "method.reinforcement.grader.operation"],
    [{ grader: { ...RIGHT, reference: "{{item.answer" } }, {}, "method.reinforcement.grader.reference"],
    [{ grader: { ...RIGHT, reference: "{{item.solution}}" } }, {}, "method.reinforcement.grader.reference"],
    [{ grader: { ...RIGHT, reference: "{{item.hint}}" } }, {}, "method.reinforcement.grader.reference"],
    [{ grader: RIGHT, response_format: { type: "json_object" } }, {}, "method.reinforcement.response_format"],
    [{ grader: RIGHT }, { eval_samples: 4 }, "method.reinforcement.hyperparameters.eval_samples"],
    [{ grader: RIGHT }, { reasoning_effort: "high" }, "method.reinforcement.hyperparameters.reasoning_effort"],
    [{ grader: RIGHT }, { compute_multiplier: 100 }, "method.reinforcement.hyperparameters.compute_multiplier"],
    [{ grader: RIGHT }, { beta: 1 }, "method.reinforcement.hyperparameters.beta"],
    [{ grader: RIGHT }, { eval_interval: 0 }, "method.reinforcement.hyperparameters.eval_interval"],
  ])("with %j and %j is refused by field", async (given, hyperparameters, param) => {
    const answer = await refused(await create({ ...given, hyperparameters }));
    expect([answer.status, answer.param]).toEqual([400, param]);
  });

  test("a field missing in one row is named with the row before the launch", async () => {
    const answer = await refused(await create({ grader: { ...RIGHT, reference: "{{item.hint}}" } }));
    expect(answer.code).toBe("missing_grader_field");
    expect(answer.message).toMatch(/row \d+: \{\{item\.hint\}\}: item has no "hint"; it has answer/);
  });

  test("a completion length without room for a prompt is refused", async () => {
    const answer = await refused(
      await create({ grader: RIGHT }, { ftl: { max_completion_length: 64, max_length: 64 } }),
    );
    expect([answer.status, answer.param]).toEqual([400, "ftl.max_completion_length"]);
  });

  test("prompt rows need a grader", async () => {
    const answer = await refused(await t.request("POST", JOBS, { body: { model: "tiny", training_file: file } }));
    expect([answer.status, answer.code, answer.param]).toEqual([400, "missing_grader", "grader"]);
  });
});

test("prompts without expected answers are not evaluated", async () => {
  const body = { model: "tiny", dataset: file };
  const answer = await refused(await t.request("POST", "/v1/evaluations", { body }));
  expect([answer.status, answer.code, answer.param]).toEqual([400, "no_answers_to_compare", "dataset"]);
});

describe("completions of a trainer", () => {
  const grading = async (grader: object) => {
    const plain = trainSpec();
    const { adapter } = plain.method;
    const numbers = { loss_type: "grpo", beta: 0.04, num_generations: 4, max_completion_length: 8, temperature: 1 };
    const method = { type: "grpo", adapter, grader, ...numbers } as TrainSpec["method"];
    return makeTrainer(t, { spec: trainSpec({ method }) });
  };
  const samples = ["4", "5", '{"sum": 4}'].map((output) => ({ item: { answer: "4" }, output }));

  test("are graded by the grader of the spec", async () => {
    const trainer = await grading(RIGHT);
    const { grades } = await trainer.json<{ grades: object[] }>("POST", "/grade", { body: { samples } });
    expect(grades).toEqual([1, 0, 0].map((reward) => ({ reward, error: null })));
  });

  test("that lack a field of the template get no reward, without a grader failure", async () => {
    const trainer = await grading(check("eq", "{{sample.output_json.sum}}", "{{item.answer}}"));
    const { grades } = await trainer.json<{ grades: object[] }>("POST", "/grade", { body: { samples } });
    expect(grades).toEqual([0, 0, 1].map((reward) => ({ reward, error: null })));
  });

  test("are compared with the digits and the order of keys that the row has", async () => {
    const trainer = await grading(check("eq", "{{sample.output_text}}", "{{item.answer}} {{item.all}}"));
    const answers = [
      {
        item: parseExact('{"answer":1.0,"all":{"b":[2.50],"1":9007199254740993}}'),
        output: '1.0 {"b":[2.50],"1":9007199254740993}',
      },
      { item: parseExact('{"answer":9007199254740993,"all":true}'), output: "9007199254740992 true" },
    ];
    const sent = { raw: writeExact({ samples: answers }), headers: { "content-type": "application/json" } };
    const { grades } = await trainer.json<{ grades: object[] }>("POST", "/grade", sent);
    expect(grades).toEqual([1, 0].map((reward) => ({ reward, error: null })));
  });

  test("have their tool calls in output_tools, as OpenAI documents it", async () => {
    const trainer = await grading(check("eq", "{{sample.output_tools[0].function.name}}", "{{item.answer}}"));
    const call = { id: "call_1", type: "function", function: { name: "add", arguments: '{"a": 2}' } };
    const answers = [{ output: "", tools: [call] }, { output: "add" }].map((one) => ({
      item: { answer: "add" },
      ...one,
    }));
    const { grades } = await trainer.json<{ grades: object[] }>("POST", "/grade", { body: { samples: answers } });
    expect(grades).toEqual([1, 0].map((reward) => ({ reward, error: null })));
    const bad = { samples: [{ item: {}, output: "", tools: [{ ...call, function: { name: "add", arguments: {} } }] }] };
    expect((await trainer.call("POST", "/grade", { body: bad })).status).toBe(400);
  });

  test("that are wrong are distinguished from grader failures", async () => {
    const trainer = await grading(check("eq", "{{sample.output_text}}", "{{item.other}}"));
    const { grades } = await trainer.json<{ grades: { error: string }[] }>("POST", "/grade", { body: { samples } });
    expect(grades.map(({ error }) => error)).toEqual(
      Array(3).fill('{{item.other}}: item has no "other"; it has answer'),
    );
  });

  test("are not graded for jobs without a grader, nor in batches of thousands", async () => {
    const plain = await makeTrainer(t);
    expect((await plain.call("POST", "/grade", { body: { samples } })).status).toBe(400);
    const trainer = await grading(RIGHT);
    const many = { samples: Array(33).fill(samples[0]) };
    expect((await trainer.call("POST", "/grade", { body: many })).status).toBe(400);
    expect((await trainer.call("POST", "/grade", { body: { samples }, token: "fta-0000000000000000" })).status).toBe(
      401,
    );
  });
});

const sandbox = await (async () => {
  const probe = await createTestApp();
  const signal = new AbortController().signal;
  const why = await pythonRunner(probe.ctx)(
    probe.actor("member"),
    { source: "", check: true, sample: null, item: {} },
    signal,
  ).then(
    () => null,
    (error: Error) => error.message,
  );
  await probe.close();
  return why;
})();

describe.skipIf(sandbox !== null)(`graders in Python${sandbox ? ` (skipped: ${sandbox})` : ""}`, () => {
  const python = (source: string) => ({ type: "python", name: "own", source });
  const nobody = () => Promise.reject(new Error("no model here"));
  const graded = (source: string, outputs: string[]) =>
    createGrading(t.ctx, nobody, 1)(
      t.actor("member"),
      python(source),
      outputs.map((output) => ({ item: { answer: "4" }, output })),
      new AbortController().signal,
    );

  test("reward completions, and report exceptions and timeouts separately", async () => {
    const source = [
      "def grade(sample, item):",
      "    text = sample['output_text']",
      "    if text == 'forever':",
      "        while True: pass",
      "    return 1 / (int(text) - 5) * 0 + float(text == item['answer'])",
    ].join("\n");
    const grades = await graded(source, ["4", "3", "5", "forever"]);
    expect(grades.slice(0, 2)).toEqual([1, 0].map((reward) => ({ reward, error: null })));
    expect(grades[2]).toMatchObject({ reward: 0, error: expect.stringContaining("ZeroDivisionError") });
    expect(grades[3]).toMatchObject({ reward: 0, error: expect.stringContaining("stopped after 1 s") });
  }, 30_000);

  test("that Python cannot compile are refused when the job is created", async () => {
    const answer = await refused(await create({ grader: python("def grade(sample, item) return 1") }));
    expect([answer.status, answer.code, answer.param]).toEqual([
      400,
      "invalid_source",
      "method.reinforcement.grader.source",
    ]);
  }, 30_000);
});

describe("graders that ask a model", () => {
  test("use it as the job's owner, who gets the usage", async () => {
    const engine = startEngine();
    await deployEngine(t.ctx, engine, { org: t.orgs.a, model: "tiny" });
    engine.instead = () => {
      const message = { role: "assistant", content: '{"result": 0.75}' };
      const usage = { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 };
      return Response.json({ model: "tiny", choices: [{ index: 0, message, finish_reason: "stop" }], usage });
    };
    const grader = {
      type: "score_model",
      name: "judge",
      model: "tiny",
      range: [0, 1],
      input: [{ role: "user", content: "Wanted {{item.answer}}, said {{sample.output_text}}." }],
    };
    const { adapter } = trainSpec().method;
    const numbers = { loss_type: "grpo", beta: 0.04, num_generations: 4, max_completion_length: 8, temperature: 1 };
    const method = { type: "grpo", adapter, grader, ...numbers } as TrainSpec["method"];
    const trainer = await makeTrainer(t, { spec: trainSpec({ method }) });
    const samples = [{ item: { answer: "4" }, output: "four" }];
    const reply = await trainer.json<{ grades: object[] }>("POST", "/grade", { body: { samples } });
    expect(reply.grades).toEqual([{ reward: 0.75, error: null }]);
    await flushUsage(t.ctx);
    const [row] = await t.ctx.db.select().from(inference).where(eq(inference.model, "tiny"));
    const [owner] = await t.ctx.db.select().from(job).where(eq(job.id, trainer.jobId));
    expect([row?.org, row?.userId]).toEqual([t.orgs.a, owner?.createdBy ?? ""]);
    engine.instead = () => new Response("broken", { status: 500 });
    const broken = await trainer.json<{ grades: { again?: boolean }[] }>("POST", "/grade", { body: { samples } });
    expect(broken.grades).toEqual([expect.objectContaining({ reward: 0, again: true })]);
    await engine.stop();
  }, 30_000);
});
