/**
 * Templates of graders that become long texts: counted before they are joined, and refused with the name of their
 * field.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Filling, MAX_FILLED, MAX_FILLED_TOTAL, sampleOf, TemplateError } from "../../src/graders/template.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { check, graderCalls, multi } from "../support/graders.ts";
import { readyBase } from "../support/models.ts";

let t: TestApp;
beforeAll(async () => {
  t = await createTestApp();
  await readyBase(t.ctx, "tiny");
});
afterAll(() => t.close());
const { post, run, refusal } = graderCalls(() => t);

/** A template with a field of the row, the given number of times. */
const often = (times: number, field = "a") => `{{item.${field}}}`.repeat(times);
const judge = (...texts: string[]) => ({
  type: "score_model",
  name: "judge",
  model: "tiny",
  input: [{ role: "user", content: texts.map((text) => ({ type: "input_text", text })) }],
});
const long = "x".repeat(20_000);
const tooLong: [number, string, string] = [400, "invalid_template", "grader.input.0.content.0.text"];

describe("a template", () => {
  test("is filled up to its limit, and one character more is refused", () => {
    const fill = (a: string) => new Filling({ a }, sampleOf("")).fill("{{item.a}}!");
    expect(fill("x".repeat(MAX_FILLED - 1)).length).toBe(MAX_FILLED);
    expect(() => fill("x".repeat(MAX_FILLED))).toThrow("the filled text is longer than 2 Mi characters");
  });

  test("counts toward the total of all texts of a grader", () => {
    const filling = new Filling({ a: "x".repeat(MAX_FILLED) }, sampleOf(""));
    for (let n = 0; n < MAX_FILLED_TOTAL / MAX_FILLED; n++) filling.fill("{{item.a}}");
    expect(() => filling.fill("!")).toThrow(TemplateError);
  });
});

describe("a request", () => {
  test("of 144 KiB that becomes 256 MB is refused and takes hardly any memory", async () => {
    const parts = Array.from({ length: 64 }, () => often(200));
    const body = { grader: judge(...parts), model_sample: "x", item: { a: long } };
    expect(JSON.stringify(body).length).toBeGreaterThan(140 * 1024);
    Bun.gc(true);
    const before = process.memoryUsage().rss;
    expect(await refusal("run", body)).toEqual(tooLong);
    expect((process.memoryUsage().rss - before) / 2 ** 20).toBeLessThan(100);
    const { error } = (await post("run", body)).body as { error: { message: string } };
    expect(error.message).toBe(
      "Invalid template in 'grader.input.0.content.0.text': the filled text is longer than 2 Mi characters.",
    );
  });

  test("of many short texts is refused at the text that exceeds the total", async () => {
    const body = { grader: judge(...Array(64).fill(often(10))), model_sample: "x", item: { a: long } };
    expect(await refusal("run", body)).toEqual([400, "invalid_template", "grader.input.0.content.41.text"]);
  });

  test("of a multi grader counts the texts of all its parts", async () => {
    const part = () => check("eq", often(50), often(50));
    const parts = Object.fromEntries(["a", "b", "c", "d", "e"].map((name) => [name, part()]));
    const body = { grader: multi(parts, "a + e"), model_sample: "x", item: { a: long } };
    expect(await refusal("run", body)).toEqual([400, "invalid_template", "grader.graders.e.input"]);
    const fewer = multi({ a: part(), b: part() }, "a + b");
    expect((await run(fewer, "x", { a: long })).reward).toBe(2);
  });

  test.each<[string, string, unknown]>([
    ["a sample", "{{sample.output_text}}", long],
    ["a sample as JSON", "{{sample.output_json}}", JSON.stringify({ a: long })],
    ["a field that is not text", "{{item.list}}", long],
  ])("counts %s", async (_, template, sample) => {
    const body = { grader: check("eq", template.repeat(200), "x"), model_sample: sample, item: { list: [long] } };
    expect(await refusal("run", body)).toEqual([400, "invalid_template", "grader.input"]);
  });
});
