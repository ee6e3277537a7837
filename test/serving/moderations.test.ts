/** Moderation by word lists: what is found, OpenAI's form, and a clear refusal without lists. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { loadConfig } from "../../src/config.ts";
import { contractMissing, contractProblems } from "../support/openai-contract.ts";
import { createServed, type Served } from "../support/served.ts";

let served: Served;
beforeAll(async () => {
  const rules = { violence: ["kill you", "Schläge"], "self-harm": ["hurt myself"] };
  served = await createServed({ config: { moderation_rules: rules } });
});
afterAll(() => served.close());

const flags = async (input: string | string[]) => {
  const answer = await served.client.moderations.create({ input });
  if (!contractMissing) expect(contractProblems("CreateModerationResponse", answer)).toEqual([]);
  return answer.results.map(({ flagged, categories, category_scores: scores }) => [
    flagged,
    categories.violence,
    scores.violence,
    scores["self-harm"],
  ]);
};

test("whole words and phrases are found in any case and spacing, and nothing else", async () => {
  expect(await flags(["I will KILL\n you!", "I kill youth", "ＫＩＬＬ you", "schläge", "Vorschläge", ""])).toEqual([
    [true, true, 1, 0],
    [false, false, 0, 0],
    [true, true, 1, 0],
    [true, true, 1, 0],
    [false, false, 0, 0],
    [false, false, 0, 0],
  ]);
  expect(await flags("I hurt myself and kill you")).toEqual([[true, true, 1, 1]]);
});

test("parts of one text have one result; images and unknown models are refused by name", async () => {
  const ask = async (body: object) => {
    const answer = await served.app.request("POST", "/v1/moderations", { body });
    const { error, results } = (await answer.json()) as { error?: { param: string }; results?: { flagged: boolean }[] };
    return [answer.status, error?.param ?? results?.map((each) => each.flagged)];
  };
  const text = (value: string) => ({ type: "text", text: value });
  expect(await ask({ input: [text("I kill"), text("you")] })).toEqual([200, [true]]);
  expect(await ask({ input: [{ type: "image_url", image_url: { url: "x" } }] })).toEqual([400, "input.0.type"]);
  expect(await ask({ input: "a", model: "other" })).toEqual([400, "model"]);
  expect(await ask({ input: "a", model: "omni-moderation-latest" })).toEqual([200, [false]]);
});

test("an installation without word lists says so, and a wrong list stops the start", async () => {
  const none = await createServed();
  const answer = await none.app.request("POST", "/v1/moderations", { body: { input: "a" } });
  const { error } = (await answer.json()) as { error: { code: string; message: string } };
  expect([answer.status, error.code]).toEqual([400, "moderation_not_configured"]);
  expect(error.message).toContain("moderation_rules");
  await none.close();
  for (const rules of ['{"rudeness": ["a"]}', '{"hate": ["!"]}', '{"hate": "a"}', "x"])
    expect(() => loadConfig({}, { FTL_MODERATION_RULES: rules })).toThrow("moderation_rules");
});

test("a guard model classifies beside the words, and one that gives no verdict is an error", async () => {
  const rules = { harassment: ["fool"] };
  const guarded = await createServed({ config: { moderation_rules: rules, moderation_model: "tiny" } });
  const ask = async (words: string[], input: string | string[]) => {
    guarded.engine.words = words;
    const answer = await guarded.app.request("POST", "/v1/moderations", { as: "member", body: { input } });
    const body = (await answer.json()) as {
      error?: { code: string };
      model: string;
      results?: { flagged: boolean; categories: Record<string, boolean> }[];
    };
    const named = (found: Record<string, boolean>) => Object.keys(found).filter((name) => found[name]);
    if (answer.ok && !contractMissing) expect(contractProblems("CreateModerationResponse", body)).toEqual([]);
    return body.error?.code ?? body.results?.map((each) => [each.flagged, named(each.categories).toSorted()]);
  };
  expect(await ask(["safe"], ["Hello", "you fool"])).toEqual([
    [false, []],
    [true, ["harassment"]],
  ]);
  expect(guarded.sent()).toMatchObject({ messages: [{ role: "user", content: "you fool" }], temperature: 0 });
  expect(await ask(["\n\nunsafe", "\nS1,S10"], "x")).toEqual([[true, ["hate", "illicit/violent", "violence"]]]);
  expect(await ask(["unsafe\nS7"], "x")).toEqual([[true, []]]);
  expect(await ask(["I think it is fine."], "x")).toBe("moderation_failed");
  await guarded.close();
});
