/** Calls of the graders' endpoints, and graders to call them with. */
import { expect } from "bun:test";
import type { Asker, TestApp } from "./app.ts";
import { contractMissing, contractProblems } from "./openai-contract.ts";

interface Run {
  reward: number;
  metadata: {
    name: string;
    type: string;
    errors: Record<string, unknown>;
    scores: Record<string, number>;
    token_usage: number | null;
    sampled_model_name: string | null;
    execution_time: number;
    ftl?: { messages: string[] };
  };
  sub_rewards: Record<string, number>;
  model_grader_token_usage_per_model: Record<string, { total_tokens: number }>;
}

export const PATH = "/v1/fine_tuning/alpha/graders";

/** The calls, on the application there is by then. */
export function graderCalls(app: () => TestApp) {
  const post = async (what: "run" | "validate", body: unknown, as: Asker = "member") => {
    const answer = await app().request("POST", `${PATH}/${what}`, { as, body });
    return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
  };
  /** A run that must be answered; checked against OpenAI's schema where that is there. */
  async function run(grader: unknown, sample: string, item: unknown = {}): Promise<Run> {
    const { status, body } = await post("run", { grader, model_sample: sample, item });
    expect(status, JSON.stringify(body)).toBe(200);
    expect(contractMissing ? [] : contractProblems("RunGraderResponse", body)).toEqual([]);
    return body as unknown as Run;
  }
  /** What a request is refused with: status, code and field. */
  async function refusal(
    what: "run" | "validate",
    body: unknown,
    as?: Asker,
  ): Promise<[number, string, string | null]> {
    const answer = await post(what, body, as);
    const error = answer.body.error as { code: string; param: string | null };
    return [answer.status, error?.code, error?.param];
  }
  return { post, run, refusal };
}

export const check = (operation: string, input: string, reference: string) => ({
  type: "string_check",
  name: "check",
  operation,
  input,
  reference,
});
export const alike = (evaluation_metric: string, reference = "{{item.wanted}}") => ({
  type: "text_similarity",
  name: "alike",
  evaluation_metric,
  input: "{{sample.output_text}}",
  reference,
});
export const multi = (graders: unknown, calculate_output: string) => ({
  type: "multi",
  name: "both",
  graders,
  calculate_output,
});
