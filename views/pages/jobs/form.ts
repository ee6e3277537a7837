/** Converts the new-job form to a training request and back. Empty text means `auto`; problems are listed by field. */
import * as v from "valibot";
import { knows } from "../../../src/contract/support.ts";
import { parseJsonText } from "../../../src/lib/text/json.ts";
import { findFlaw } from "../../../src/lib/text/well-formed.ts";
import type { JobRow } from "../../../src/training/jobs/model.ts";
import { TrainRequest } from "../../../src/training/plan/request.ts";
import {
  EMPTY_PLACE,
  optionsOfForm,
  PLACE_FIELDS,
  type PlaceForm,
  placeField,
  placeForm,
  postedPlace,
} from "../queue/form.ts";

/** Form fields that are hyperparameters and may be `auto`. */
const NUMBERS = [
  "n_epochs",
  "max_steps",
  "learning_rate",
  "batch_size",
  "optimizer",
  "scheduler",
  "warmup_ratio",
  "weight_decay",
  "max_grad_norm",
  "seed",
  "adapter",
  "lora_r",
  "lora_alpha",
  "lora_dropout",
  "lora_layers",
  "target_modules",
  "rslora",
  "dora",
  "quantization",
  "loss_on",
  "loss",
  "beta",
  "label_smoothing",
  "desirable_weight",
  "undesirable_weight",
  "center",
  "loss_type",
  "num_generations",
  "max_completion_length",
  "temperature",
  "neftune_alpha",
  "packing",
  "padding_free",
  "early_stopping",
  "keep_best",
  "attention",
  "liger_kernel",
  "torch_compile",
  "max_length",
  "chat_template",
  "special_tokens",
  "on_template_error",
  "reasoning",
  "precision",
  "gradient_checkpointing",
  "per_device_batch_size",
  "gpus",
  "parallel",
  "eval_every",
  "save_every",
  "max_cost_usd",
] as const;
const WORDS = new Set<string>([
  "optimizer",
  "scheduler",
  "loss_on",
  "loss",
  "loss_type",
  "chat_template",
  "special_tokens",
  "on_template_error",
  "reasoning",
  "adapter",
  "quantization",
  "precision",
  "parallel",
  "attention",
]);
const SWITCHES = new Set<string>([
  "rslora",
  "dora",
  "packing",
  "padding_free",
  "keep_best",
  "gradient_checkpointing",
  "liger_kernel",
  "torch_compile",
]);

/** The values of the form, as typed. Empty text of a hyperparameter means `auto`. */
export interface JobForm {
  data: string;
  model: string;
  method: string;
  name: string;
  /** Another dataset whose rows the run is validated on; "" is its own validation split. */
  validation: string;
  evaluate: boolean;
  /** The grader for GRPO as JSON. */
  grader: string;
  /** A sample answer to test the grader with. */
  answer: string;
  numbers: Record<string, string>;
  place: PlaceForm;
}

const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
/** The posted form. */
export const JobFormBody = v.strictObject({
  data: text(100),
  model: text(200),
  method: text(20),
  name: text(200),
  validation: text(100),
  evaluate: text(5),
  /** An accepted suggestion of the plan, as a query string. */
  change: text(500),
  grader: text(300_000),
  /** Type of the grader template that replaces the current grader. */
  start: text(30),
  answer: text(20_000),
  /** Test the grader with the answer. */
  try: text(5),
  /** Result of the last test, posted so that the next rendering of the form shows it again. */
  outcome: text(5000),
  ...PLACE_FIELDS,
  ...(Object.fromEntries(NUMBERS.map((name) => [name, text(name === "target_modules" ? 1000 : 40)])) as Record<
    (typeof NUMBERS)[number],
    ReturnType<typeof text>
  >),
});

export function formOf(body: v.InferOutput<typeof JobFormBody>): JobForm {
  const { data, model, method, name, validation, evaluate, answer } = body;
  // Browsers submit line ends as CRLF, scripts as LF.
  const grader = body.grader.replaceAll("\r\n", "\n");
  const numbers = pickNumbers((key) => body[key]);
  const place = postedPlace(body);
  const form = {
    data,
    model,
    method: method || "auto",
    name: name.trim(),
    validation,
    evaluate: evaluate === "1",
    grader,
    answer,
    numbers,
    place,
  };
  return body.change ? changed(form, body.change) : form;
}

/** The form with a change of some hyperparameters, given as a query string. */
export function changed(form: JobForm, change: string): JobForm {
  const given = new URLSearchParams(change);
  return {
    ...form,
    numbers: { ...form.numbers, ...pickNumbers((name) => given.get(name) ?? form.numbers[name] ?? "") },
  };
}

const pickNumbers = (value: (name: (typeof NUMBERS)[number]) => string) =>
  Object.fromEntries(NUMBERS.map((name) => [name, value(name).trim()]));

/** An empty form. */
export function emptyForm(data: string, model: string): JobForm {
  const empty = { method: "auto", name: "", validation: "", evaluate: true, grader: "", answer: "" };
  return { data, model, ...empty, numbers: {}, place: EMPTY_PLACE };
}

/** Another name for a copy: `bank` becomes `bank-2`, `bank-2` becomes `bank-3`. At most 64 characters. */
function nextName(name: string): string {
  const [, stem = name, number = "1"] = /^(.*)-(\d{1,4})$/.exec(name) ?? [];
  const end = `-${Number(number) + 1}`;
  return stem.slice(0, 64 - end.length) + end;
}

/** The form that would create `job` again: values that the user set stay, the others are `auto`. */
export function formOfJob(job: JobRow): JobForm {
  const { spec, request } = job;
  const numbers: Record<string, string> = {};
  for (const name of NUMBERS) {
    const value = request[name];
    if (value !== null && ["number", "string", "boolean"].includes(typeof value) && value !== "auto")
      numbers[name] = String(value);
  }
  if (Array.isArray(request.target_modules)) numbers.target_modules = request.target_modules.join(", ");
  return {
    data: spec.kind === "train" ? spec.dataset.dataset_id : "",
    model: spec.kind === "train" ? (spec.start?.model ?? spec.base_model.id) : spec.base_model.id,
    method: typeof request.method === "string" ? request.method : "auto",
    name: spec.kind === "train" && spec.suffix ? nextName(spec.suffix) : "",
    validation: typeof request.validation_file === "string" ? request.validation_file : "",
    evaluate: spec.kind === "train" ? spec.evaluate_after : true,
    grader: request.grader ? JSON.stringify(request.grader, null, 2) : "",
    answer: "",
    numbers,
    // Start and deadline were for the first run only.
    place: placeForm({ ...job, startAfter: null, deadline: null }),
  };
}

/** The form field for a request field. */
const FIELD_OF: Record<string, string> = { training_file: "data", validation_file: "validation", suffix: "name" };
export const fieldOf = (param: string | null): string =>
  param ? (FIELD_OF[param] ?? (param.startsWith("grader.") ? "grader" : param)) : "";

/** The request of the form, or its problems by field. */
export function requestOf(form: JobForm): { request: TrainRequest } | { problems: Record<string, string> } {
  const given: Record<string, unknown> = {
    model: form.model,
    training_file: form.data,
    validation_file: form.validation || null,
    suffix: form.name || null,
    method: form.method === "auto" ? null : form.method,
    evaluate_after: form.evaluate,
    ...optionsOfForm(form.place),
  };
  const problems: Record<string, string> = {};
  if (form.grader.trim() && knows(form.method, "grader")) {
    try {
      given.grader = parseJsonText(form.grader);
      const found = findFlaw(given.grader);
      if (found) problems.grader = `${found.param || "The grader"} ${found.flaw}.`;
    } catch (error) {
      problems.grader = `Not valid JSON: ${error instanceof Error ? error.message : String(error)}`;
    }
  }
  for (const [name, value] of Object.entries(form.numbers)) {
    if (!value || value === "auto" || !knows(form.method, name)) continue;
    if (name === "target_modules") given[name] = value === "all-linear" ? value : value.split(/[\s,]+/).filter(Boolean);
    else if (WORDS.has(name)) given[name] = value;
    else if (SWITCHES.has(name)) given[name] = value === "true";
    // Many locales use a decimal comma.
    else if (/^-?([0-9]+([.,][0-9]+)?|[.,][0-9]+)(e-?[0-9]{1,3})?$/i.test(value))
      given[name] = Number(value.replace(",", "."));
    else problems[name] = "Enter a number, or leave the field empty for auto";
  }
  const parsed = v.safeParse(TrainRequest, given);
  if (!parsed.success)
    for (const issue of parsed.issues) {
      // One field holds all target modules.
      const path = v.getDotPath(issue)?.replace(/^target_modules\.\d+$/, "target_modules") ?? null;
      const where = path?.startsWith("grader.") ? `${path}: ` : "";
      problems[placeField(fieldOf(path))] ??= where + sentence(issue.message);
    }
  if (Object.keys(problems).length || !parsed.success) return { problems };
  return { request: parsed.output };
}

const sentence = (message: string) => message.charAt(0).toUpperCase() + message.slice(1);
