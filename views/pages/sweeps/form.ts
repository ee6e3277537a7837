/** The form of a new sweep: converts the typed fields to a request, or to validation messages. */
import * as v from "valibot";
import type { TrialValue } from "../../../src/contract/sweep.ts";
import { parseJsonText } from "../../../src/lib/text/json.ts";
import { wellFormedJson } from "../../../src/lib/text/well-formed.ts";
import { CreateSweep, FIELDS } from "../../../src/training/sweeps/model.ts";

/** Lines of the form, each for one field and its values. */
const LINES = 4;
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const lines = <T extends v.GenericSchema>(schema: T, name: string) =>
  Object.fromEntries(Array.from({ length: LINES }, (_, n) => [`${name}_${n}`, schema]));

export const SweepFormBody = v.strictObject({
  training: v.pipe(v.string(), v.maxLength(20_000)),
  name: text(120),
  strategy: v.optional(v.picklist(["grid", "random", "halving"]), "grid"),
  trials: text(10),
  parallel: text(10),
  seed: text(12),
  eta: text(4),
  metric: text(80),
  max_cost_usd: text(20),
  ...lines(text(60), "field"),
  ...lines(text(1000), "values"),
});

export interface SweepForm {
  /** The training request as JSON, in a hidden field. */
  training: string;
  name: string;
  strategy: "grid" | "random" | "halving";
  trials: string;
  parallel: string;
  seed: string;
  eta: string;
  metric: string;
  max_cost_usd: string;
  lines: { field: string; values: string }[];
}

export function formOf(body: Record<string, unknown>): SweepForm {
  const word = (name: string) => String(body[name] ?? "").trim();
  return {
    training: word("training"),
    name: word("name"),
    metric: word("metric"),
    strategy: (word("strategy") || "grid") as SweepForm["strategy"],
    trials: word("trials"),
    parallel: word("parallel"),
    seed: word("seed"),
    eta: word("eta"),
    max_cost_usd: word("max_cost_usd"),
    lines: Array.from({ length: LINES }, (_, n) => ({ field: word(`field_${n}`), values: word(`values_${n}`) })),
  };
}

/** A new form for a training, which varies the learning rate. */
export const firstForm = (training: Record<string, unknown>): SweepForm => ({
  training: JSON.stringify(training),
  name: "",
  strategy: "grid",
  trials: "8",
  parallel: "2",
  seed: "42",
  eta: "3",
  metric: "",
  max_cost_usd: "",
  lines: [
    { field: "learning_rate", values: "1e-4, 3e-4, 1e-3" },
    ...Array.from({ length: LINES - 1 }, () => ({ field: "", values: "" })),
  ],
});

function typedValue(word: string): TrialValue {
  if (word === "true" || word === "false") return word === "true";
  const number = Number(word);
  return Number.isFinite(number) ? number : word;
}

const RANGE = /^(\S+)\s+to\s+(\S+?)(?:\s+(log|linear))?$/i;

/** Parses `1e-4, 3e-4`, or `1e-5 to 1e-3` with an optional `log` or `linear`. By default the range sets the scale. */
function valuesOf(typed: string): unknown {
  const range = RANGE.exec(typed.trim());
  if (range) {
    const [min, max] = [Number(range[1]), Number(range[2])];
    const scale = range[3]?.toLowerCase() ?? (min > 0 && max / min >= 20 ? "log" : "linear");
    return { min, max, scale };
  }
  return typed
    .split(",")
    .map((word) => word.trim())
    .filter(Boolean)
    .map(typedValue);
}

const wholeOf = (typed: string, otherwise: number) => (typed === "" ? otherwise : Number(typed));

/** The request of a form, or validation messages by the name of the control (`""` = the whole form). */
export function requestOf(form: SweepForm): { request: CreateSweep } | { problems: Record<string, string> } {
  let training: unknown;
  try {
    training = parseJsonText(wellFormedJson(form.training));
  } catch {
    return { problems: { "": "The training of this sweep is missing. Start again from a job." } };
  }
  const space: Record<string, unknown> = {};
  for (const [n, { field, values }] of form.lines.entries()) {
    if (!field) continue;
    if (!(FIELDS as readonly string[]).includes(field)) return { problems: { [`values_${n}`]: "Select a field." } };
    if (field in space) return { problems: { [`values_${n}`]: "This field is already listed above." } };
    if (!values) return { problems: { [`values_${n}`]: "Enter at least one value." } };
    space[field] = valuesOf(values);
  }
  const { strategy } = form;
  const drawn = { trials: wholeOf(form.trials, 8), seed: wholeOf(form.seed, 42) };
  const parsed = v.safeParse(CreateSweep, {
    training,
    space,
    name: form.name || null,
    metric: form.metric || null,
    parallel: wholeOf(form.parallel, 2),
    max_cost_usd: form.max_cost_usd === "" ? null : Number(form.max_cost_usd.replace(",", ".")),
    strategy:
      strategy === "grid"
        ? { type: strategy }
        : { type: strategy, ...drawn, ...(strategy === "halving" ? { eta: wholeOf(form.eta, 3) } : {}) },
  });
  if (parsed.success) return { request: parsed.output };
  const problems: Record<string, string> = {};
  for (const issue of parsed.issues) {
    const [first, second] = (v.getDotPath(issue) ?? "").split(".");
    const line = form.lines.findIndex(({ field }) => field === second);
    const control = first === "space" ? (line >= 0 ? `values_${line}` : "values_0") : (second ?? first ?? "");
    const deep = issue.issues?.find((one) => one.kind === "validation") ?? issue;
    problems[control] ??=
      first === "training" ? `Invalid '${second}' in the training: ${deep.message}.` : `The field ${deep.message}.`;
  }
  return { problems };
}
