/** The form of a provider's limits: what is typed as a request, and back. An empty field is no limit. */
import * as v from "valibot";
import { LimitsChange, type LimitsView } from "../../../src/compute/limits/model.ts";

const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
export const LimitsBody = v.strictObject({
  regions: text(4000),
  machine_types: text(4000),
  max_price_per_hour: text(30),
  max_machines: text(30),
  month_usd: text(30),
  cost_per_gpu_hour: text(30),
  /** Whether its machines may use the hub; empty = as the setting says. */
  models_from_hub: v.optional(v.picklist(["", "yes", "no"]), ""),
});
export type LimitsForm = v.InferOutput<typeof LimitsBody>;

const shown = (value: number | null) => (value === null ? "" : String(value));

/** Stored limits as they are typed. */
export const formOf = (limits: LimitsView): LimitsForm => ({
  regions: limits.regions.join(", "),
  machine_types: limits.machine_types.join(", "),
  max_price_per_hour: shown(limits.max_price_per_hour),
  max_machines: shown(limits.max_machines),
  month_usd: shown(limits.month_usd),
  cost_per_gpu_hour: shown(limits.cost_per_gpu_hour),
  models_from_hub: limits.models_from_hub === null ? "" : limits.models_from_hub ? "yes" : "no",
});

const listIn = (typed: string) =>
  typed
    .split(",")
    .map((part) => part.trim())
    .filter(Boolean);
/** Null when empty, text when it is no number, which the schema refuses. */
const numberIn = (typed: string) => (typed.trim() === "" ? null : Number.isNaN(Number(typed)) ? typed : Number(typed));

/** The change that a form asks for, or a message by field. */
export function readLimits(form: LimitsForm): { change: LimitsChange } | { problems: Record<string, string> } {
  const parsed = v.safeParse(LimitsChange, {
    regions: listIn(form.regions),
    machine_types: listIn(form.machine_types),
    max_price_per_hour: numberIn(form.max_price_per_hour),
    max_machines: numberIn(form.max_machines),
    month_usd: numberIn(form.month_usd),
    cost_per_gpu_hour: numberIn(form.cost_per_gpu_hour),
    models_from_hub: form.models_from_hub === "" ? null : form.models_from_hub === "yes",
  });
  if (parsed.success) return { change: parsed.output };
  return {
    problems: Object.fromEntries(
      parsed.issues.map((issue) => [String(issue.path?.[0]?.key ?? ""), `${issue.message}; empty = no limit`]),
    ),
  };
}
