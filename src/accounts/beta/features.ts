/**
 * The beta features: all of them, here only. Deleting an entry makes the feature ordinary; the compiler then names the
 * labels on pages that are left, and stored switches of it count for nothing.
 */

interface BetaFeature {
  name: string;
  /** What it is, and what may still change. */
  description: string;
  /** The version that has it first. */
  since: string;
  /** Without a switch. A feature that was there before it became beta is on, so that an upgrade takes nothing away. */
  on: boolean;
  /** Routes that are refused while it is off, as `METHOD path` is registered. What exists stays readable. */
  routes: readonly string[];
}

export const BETA_FEATURES = {
  model_pushes: {
    name: "Pushing models to a hub",
    description: "Sends a fine-tuned model to Hugging Face or a hub like it. Which files are sent may still change.",
    since: "0.1",
    on: true,
    routes: ["POST /v1/models/:id/pushes", "POST /models/:id/pushes"],
  },
  responses: {
    name: "Responses API",
    description:
      "OpenAI's /v1/responses, with tools, background and stored answers. Details may follow OpenAI's changes.",
    since: "0.1",
    on: true,
    routes: ["POST /v1/responses", "POST /v1/responses/input_tokens", "POST /v1/responses/compact"],
  },
} as const satisfies Record<string, BetaFeature>;

export type BetaName = keyof typeof BETA_FEATURES;
export const BETA_NAMES = Object.keys(BETA_FEATURES) as BetaName[];
