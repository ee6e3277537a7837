/** The form of limits: labels, and the typed values as a request. Storage is typed in GB. */
import * as v from "valibot";
import { LIMITS, LimitChange, type LimitName } from "../../../src/accounts/quotas/model.ts";

const GB = 1e9;

/** Limits as typed; empty = none of its own. */
export type LimitForm = Record<LimitName, string>;

export const LIMIT_LABELS: Record<LimitName, string> = {
  bytes: "Storage in GB",
  files: "Files",
  datasets: "Datasets",
  pending_uploads: "Concurrent uploads",
  waiting_jobs: "Waiting jobs",
};

const text = v.optional(v.pipe(v.string(), v.maxLength(30)), "");
export const LimitBody = v.strictObject({
  bytes: text,
  files: text,
  datasets: text,
  pending_uploads: text,
  waiting_jobs: text,
});

/** A stored limit as it is typed. */
export function shownLimit(name: LimitName, value: number | null): string {
  if (value === null) return "";
  return String(name === "bytes" ? value / GB : value);
}

/** A typed limit: null when empty, text when it is no number, which the schema refuses. */
function typedLimit(name: LimitName, value: string): number | string | null {
  if (value.trim() === "") return null;
  const number = Number(value);
  if (Number.isNaN(number)) return value;
  return name === "bytes" ? Math.round(number * GB) : number;
}

/** The change that a form asks for, or a message by field. */
export function readLimits(form: LimitForm): { change: LimitChange } | { problems: Record<string, string> } {
  const typed = Object.fromEntries(LIMITS.map((name) => [name, typedLimit(name, form[name])]));
  const parsed = v.safeParse(LimitChange, typed);
  if (parsed.success) return { change: parsed.output };
  const wrong = parsed.issues.map((issue) => [v.getDotPath(issue) ?? "", "Give a whole number, or leave it empty."]);
  return { problems: Object.fromEntries(wrong) };
}
