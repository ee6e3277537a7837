/** Graders over HTTP, from templates to formulas: the reward of each type, and the error of every kind of mistake. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { inference } from "../../src/db/schema/gateway.ts";
import { parseFormula } from "../../src/graders/formula.ts";
import { type Metric, noErrors } from "../../src/graders/model.ts";
import { MAX_COMPARED, similarity } from "../../src/graders/similarity.ts";
import { flushUsage } from "../../src/serving/gateway/usage.ts";
import golden from "../recordings/graders/similarity.json";
import { createTestApp, type TestApp } from "../support/app.ts";
import { deployEngine, startEngine } from "../support/engine.ts";
import { alike, check, graderCalls, multi, PATH } from "../support/graders.ts";
import { readyBase } from "../support/models.ts";
import { contractMissing, contractProblems } from "../support/openai-contract.ts";

let t: TestApp;
beforeAll(async () => {
  t = await createTestApp();
  await readyBase(t.ctx, "tiny");
});
afterAll(() => t.close());

const { post, run, refusal } = graderCalls(() => t);

describe("string_check", () => {
  test.each([
    ["eq", "Paris", "Paris", 1],
    ["eq", "paris", "Paris", 0],
    ["ne", "Paris", "London", 1],
    ["ne", "Paris", "Paris", 0],
    ["like", "I love Paris.", "Paris", 1],
    ["like", "I love paris.", "Paris", 0],
    ["ilike", "I love PARIS.", "paris", 1],
    ["ilike", "I love Rome.", "paris", 0],
  ])("%s of %p and %p is %p", async (operation, said, wanted, reward) => {
    const found = await run(check(operation, "{{ sample.output_text }}", "{{item.wanted}}"), said, { wanted });
    expect(found.reward).toBe(reward);
    expect(found.metadata).toMatchObject({ name: "check", type: "string_check", scores: {}, token_usage: null });
    expect(found.metadata.errors).toEqual({ ...noErrors() });
    expect([found.sub_rewards, found.model_grader_token_usage_per_model]).toEqual([{}, {}]);
  });
});

describe("templates", () => {
  const item = { a: { b: [{ c: "deep" }, 7] }, n: 1.5, yes: true, nothing: null, "x-y": "dash", größe: "L" };
  test.each([
    ["{{item.a.b[0].c}}", "deep"],
    ["{{item.a.b.1}}", "7"],
    ["{{ item.n }}/{{item.yes}}/{{item.nothing}}", "1.5/true/null"],
    ["{{item.a}}", '{"b":[{"c":"deep"},7]}'],
    ["{{item.x-y}} {{item.größe}} {single}", "dash L {single}"],
    ["{{sample.output_json.steps[1].x}}", "2"],
    ["{{sample.output_tools}}", "[]"],
    ["no template at all", "no template at all"],
  ])("%s is %s", async (template, text) => {
    const found = await run(check("eq", template, text), '{"steps":[{"x":1},{"x":2}]}', item);
    expect([found.reward, found.metadata.ftl?.messages ?? []]).toEqual([1, []]);
  });

  test.each([
    ["{{item.other}}"],
    ["{{item.a.b[9]}}"],
    ["{{item.n.deeper}}"],
    ["{{item}}"],
    ["{{row.x}}"],
    ["{{sample.text}}"],
    ["{{sample}}"],
    ["{{item.a"],
    ["{{}}"],
    ["{{item.a | upper}}"],
    ["{{item.__proto__}}"],
    ["{{item.constructor.name}}"],
  ])("%s is refused, naming the field", async (template) => {
    const body = { grader: multi({ exact: check("eq", "x", template) }, "exact"), model_sample: "{}", item };
    expect(await refusal("run", body)).toEqual([400, "invalid_template", "grader.graders.exact.reference"]);
  });

  test("a missing field is named, with the fields that exist", async () => {
    const { body } = await post("run", {
      grader: check("eq", "{{item.labl}}", "x"),
      model_sample: "",
      item: { label: 1 },
    });
    expect((body.error as { message: string }).message).toBe(
      "Invalid template in 'grader.input': {{item.labl}}: item has no \"labl\"; it has label.",
    );
  });

  test("a sample that does not fit the template sets the sample's error flag", async () => {
    const wants = check("eq", "{{sample.output_json.answer}}", "4");
    const text = await run(wants, "four");
    expect([text.reward, text.metadata.errors.sample_parse_error]).toEqual([0, true]);
    const other = await run(wants, '{"result": 4}');
    expect([other.reward, other.metadata.errors.sample_parse_error]).toEqual([0, true]);
    expect(other.metadata.ftl?.messages[0]).toContain('has no "answer"; it has result');
    expect((await run(wants, '{"answer": 4}')).reward).toBe(1);
  });
});

describe("text_similarity", () => {
  test(`equals the reference implementations (${golden.from.slice(0, 40)}…)`, () => {
    let compared = 0;
    for (const { input, reference, scores } of golden.pairs)
      for (const [metric, wanted] of Object.entries(scores)) {
        compared++;
        const found = similarity(metric as Exclude<Metric, "cosine">, input, reference);
        expect(found, `${metric} of ${input} and ${reference}`).toBeCloseTo(wanted, 9);
      }
    expect(compared).toBeGreaterThan(200);
  });

  test("the longest common subsequence of random texts equals the textbook algorithm", () => {
    let state = 7;
    const chance = (below: number) => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    const text = () => Array.from({ length: chance(140) }, () => "abcdé"[chance(5)]).join("");
    for (let n = 0; n < 60; n++) {
      const [a, b] = [text(), text()];
      let row = new Array<number>(b.length + 1).fill(0);
      for (const letter of a) {
        const next = [0];
        for (let at = 0; at < b.length; at++)
          next.push(b[at] === letter ? (row[at] ?? 0) + 1 : Math.max(row[at + 1] ?? 0, next[at] ?? 0));
        row = next;
      }
      const wanted = a.length + b.length === 0 ? 1 : (2 * (row.at(-1) ?? 0)) / (a.length + b.length);
      expect(similarity("fuzzy_match", a, b), `${a} and ${b}`).toBeCloseTo(wanted, 12);
    }
  });

  test("over HTTP", async () => {
    const [, pair] = golden.pairs;
    const found = await run(alike("bleu"), pair?.input ?? "", { wanted: pair?.reference });
    expect(found.reward).toBeCloseTo(pair?.scores.bleu ?? -1, 9);
    expect((await run(alike("rouge_1"), "Größe und Maß", { wanted: "größe oder maß" })).reward).toBeCloseTo(2 / 3, 9);
  });

  test("cosine is refused with the reason where no embedding model is configured", async () => {
    const refused = [400, "unsupported_metric", "grader.evaluation_metric"];
    expect(await refusal("validate", { grader: alike("cosine") })).toEqual(refused as [number, string, string]);
  });

  test("cosine compares embeddings of the configured model, and counts as a request of the caller", async () => {
    const lab = await createTestApp({ config: { embedding_model: "tiny" } });
    const { run: runHere, refusal: refusalHere } = graderCalls(() => lab);
    const missing = await refusalHere("validate", { grader: alike("cosine") });
    expect(missing).toEqual([400, "model_not_found", "grader.evaluation_metric"] as [number, string, string]);
    const engine = startEngine();
    await readyBase(lab.ctx, "tiny");
    await deployEngine(lab.ctx, engine, { org: lab.orgs.a, model: "tiny" });
    // The engine's embedding of a text is how often each letter occurs.
    for (const [said, wanted, reward] of [
      ["abc", "cab", 1],
      ["abcd", "abxy", 0.5],
      ["abc", "xyz", 0],
      ["", "abc", 0],
      ["", "", 1],
    ] as const)
      expect([said, (await runHere(alike("cosine"), said, { wanted })).reward]).toEqual([
        said,
        expect.closeTo(reward, 6),
      ]);
    const { model_grader_token_usage_per_model: usage } = await runHere(alike("cosine"), "abc", { wanted: "cab" });
    expect(usage).toMatchObject({ tiny: { prompt_tokens: 6, total_tokens: 6 } });
    await flushUsage(lab.ctx);
    const rows = await lab.ctx.db.select().from(inference);
    expect(rows.map((row) => [row.status, row.promptTokens, row.completionTokens])).toContainEqual([200, 6, 0]);
    engine.instead = () => new Response(null, { status: 500 });
    const broken = await runHere(alike("cosine"), "abc", { wanted: "cab" });
    expect([broken.reward, broken.metadata.errors.model_grader_server_error]).toEqual([0, true]);
    await engine.stop();
    await lab.close();
  });

  test("texts beyond the limit are truncated, which is reported, and take little time", async () => {
    const found = await run(alike("fuzzy_match", "ba".repeat(MAX_COMPARED)), "ab".repeat(MAX_COMPARED));
    expect(found.reward).toBeCloseTo(1, 3);
    expect(found.metadata.errors.truncated_observation_error).toBe(true);
    expect(found.metadata.execution_time).toBeLessThan(2);
  });
});

describe("multi", () => {
  const exact = check("eq", "{{sample.output_text}}", "{{item.wanted}}");
  const item = { wanted: "fuzzy wuzzy was a bear" };

  test("combines several rewards into one and reports each", async () => {
    const found = await run(multi({ exact, close: alike("fuzzy_match") }, "0.25 * exact + 0.75*close"), "fuzzy", item);
    expect(found.reward).toBeCloseTo(0.75 * ((2 * 5) / 27), 9);
    expect(found.sub_rewards).toEqual({ exact: 0, close: (2 * 5) / 27 });
    expect(found.metadata).toMatchObject({ type: "multi", scores: found.sub_rewards });
  });

  test("a single grader is accepted under its own name, as in OpenAI's schema", async () => {
    expect((await run(multi(exact, "2 * check"), "fuzzy wuzzy was a bear", item)).reward).toBe(2);
  });

  test("a part that fails counts as 0 and is named", async () => {
    const json = check("eq", "{{sample.output_json.x}}", "1");
    const found = await run(multi({ exact, json }, "exact + json"), "fuzzy wuzzy was a bear", item);
    expect([found.reward, found.metadata.errors.sample_parse_error]).toEqual([1, true]);
    expect(found.metadata.ftl?.messages[0]).toStartWith("json: ");
  });

  test.each([
    ["1 / exact", 0],
    ["log(exact)", 0],
    ["sqrt(exact - 1)", 0],
    ["exp(1000)", 0],
  ])("%s cannot be computed: reward 0 and the flag", async (formula, reward) => {
    const found = await run(multi({ exact }, formula), "other", item);
    expect([found.reward, found.metadata.errors.formula_parse_error]).toEqual([reward, true]);
    expect(found.metadata.ftl?.messages[0]).toStartWith("calculate_output: ");
  });

  test.each([
    ["exact + closer", "grader.calculate_output", "invalid_formula"],
    ["exact +", "grader.calculate_output", "invalid_formula"],
    ["exact)", "grader.calculate_output", "invalid_formula"],
    ["(exact", "grader.calculate_output", "invalid_formula"],
    ["exact exact", "grader.calculate_output", "invalid_formula"],
    ["exact; process", "grader.calculate_output", "invalid_formula"],
    ["abs(exact, 1)", "grader.calculate_output", "invalid_formula"],
    ["constructor(exact)", "grader.calculate_output", "invalid_formula"],
    [`${"(".repeat(1900)}exact${")".repeat(1900)}`, "grader.calculate_output", "invalid_formula"],
    ["-".repeat(3000), "grader.calculate_output", "invalid_formula"],
  ])("%.30s is refused", async (formula, param, code) => {
    expect(await refusal("validate", { grader: multi({ exact }, formula) })).toEqual([400, code, param]);
  });

  test.each([
    ["1 + 2 * 3", 7],
    ["(1 + 2) * 3", 9],
    ["2 ^ 3 ^ 2", 512],
    ["-2 ^ 2", -4],
    ["2 * -a", -6],
    ["8 / 4 / 2", 1],
    ["10 - 3 - 2", 5],
    ["min(a, 2, b) + max(1, a)", 0.5 + 3],
    ["abs(-a) + floor(2.7) + ceil(2.1) + sqrt(9)", 3 + 2 + 3 + 3],
    ["log(exp(2)) + .5e1", 7],
    ["2**3", 8],
  ])("%s is %p", (formula, wanted) => {
    expect(parseFormula(formula, ["a", "b"])({ a: 3, b: 0.5 })).toBeCloseTo(wanted, 9);
  });
});

describe("mistakes name their field", () => {
  const good = check("eq", "a", "b");
  const judge = { type: "score_model", name: "judge", model: "tiny", input: [{ role: "user", content: "x" }] };
  const labels = { ...judge, type: "label_model", labels: ["good", "bad"], passing_labels: ["good"] };
  test.each<[string, unknown, string | null, string]>([
    ["no grader", {}, "grader", "missing_required_parameter"],
    ["an unknown type", { grader: { ...good, type: "magic" } }, "grader.type", "invalid_type"],
    ["an unknown operation", { grader: { ...good, operation: "is" } }, "grader.operation", "invalid_type"],
    ["no reference", { grader: { ...good, reference: undefined } }, "grader.reference", "missing_required_parameter"],
    [
      "an operation in a part",
      { grader: multi({ exact: { ...good, operation: "is" } }, "exact") },
      "grader.graders.exact.operation",
      "invalid_type",
    ],
    [
      "a multi grader in a multi grader",
      { grader: multi({ a: multi({ exact: good }, "exact") }, "a") },
      "grader.graders.a.type",
      "invalid_type",
    ],
    ["no graders", { grader: multi({}, "1") }, "grader.graders", "invalid_value"],
    [
      "a name that a formula cannot use",
      { grader: multi({ "my grader": good }, "1") },
      "grader.graders.my grader",
      "invalid_name",
    ],
    ["a function's name", { grader: multi({ max: good }, "1") }, "grader.graders.max", "invalid_name"],
    ["an unknown field", { grader: good, items: {} }, "items", "unknown_parameter"],
    ["a model that does not exist", { grader: { ...judge, model: "nope" } }, "grader.model", "model_not_found"],
    ["a range that is reversed", { grader: { ...judge, range: [1, 0] } }, "grader.range", "invalid_value"],
    [
      "a temperature out of bounds",
      { grader: { ...judge, sampling_params: { temperature: 3 } } },
      "grader.sampling_params.temperature",
      "invalid_value",
    ],
    [
      "a passing label that is not a label",
      { grader: { ...labels, passing_labels: ["good", "fine"] } },
      "grader.passing_labels.1",
      "invalid_value",
    ],
    ["a duplicate label", { grader: { ...labels, labels: ["good", "good"] } }, "grader.labels", "invalid_value"],
    [
      "an image",
      { grader: { ...judge, input: [{ role: "user", content: [{ type: "input_image", image_url: "x" }] }] } },
      "grader.input.0.content.0.type",
      "unsupported_content",
    ],
    [
      "a template in a message",
      { grader: { ...judge, input: [{ role: "user", content: { type: "input_text", text: "{{oops}}" } }] } },
      "grader.input.0.content.text",
      "invalid_template",
    ],
    [
      "a source that is too long",
      { grader: { type: "python", name: "p", source: "#".repeat(256 * 1024) } },
      "grader.source",
      "invalid_value",
    ],
  ])("%s", async (_, body, param, code) => {
    expect(await refusal("validate", body)).toEqual([400, code, param]);
  });

  test("rows and samples nested deeper than the stack are refused or ignored", async () => {
    const deep = `${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}`;
    const raw = `{"grader":${JSON.stringify(good)},"model_sample":"x","item":${deep}}`;
    const headers = { "content-type": "application/json" };
    const answer = await t.request("POST", `${PATH}/run`, { raw, headers });
    expect(answer.status).toBe(400);
    const found = await run(check("eq", "{{sample.output_json}}", "x"), "[".repeat(100_000) + "]".repeat(100_000));
    expect(found.metadata.errors.sample_parse_error).toBe(true);
  });

  test("a valid grader is returned as it was sent", async () => {
    for (const grader of [good, alike("meteor"), judge, labels]) {
      const { status, body } = await post("validate", { grader });
      expect([status, body]).toEqual([200, { grader }]);
      if (!contractMissing && grader !== labels) expect(contractProblems("ValidateGraderResponse", body)).toEqual([]);
    }
    const both = multi({ good, judge }, "good * judge");
    expect((await post("validate", { grader: both })).body).toEqual({ grader: both });
  });
});

test("the OpenAPI document has every grader, and no dangling reference", async () => {
  const document = await t.json<{ paths: Record<string, unknown> }>("GET", "/openapi.json");
  const text = JSON.stringify(document.paths[`${PATH}/run`]);
  for (const type of ["string_check", "text_similarity", "score_model", "label_model", "python", "multi"])
    expect(text).toContain(`{"const":"${type}"}`);
  expect(JSON.stringify(document)).not.toContain("#/$defs");
});
