/** The form that suspends a user or a team. */
import * as v from "valibot";
import { SuspendBody } from "../../../src/accounts/holds/model.ts";
import { AppError } from "../../../src/errors.ts";
import { parseForm } from "../../../src/http/validation.ts";

const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
export const SuspendForm = v.strictObject({ reason: text(2000), until: text(40) });
export type SuspendForm = v.InferOutput<typeof SuspendForm>;

/** Reason and end of a form, the end in milliseconds since 1970. @throws AppError `invalid_value` */
export function suspensionOf(form: SuspendForm): { reason: string; until: number | null } {
  const at = form.until ? Date.parse(form.until) : null;
  if (Number.isNaN(at))
    throw new AppError("unprocessable", "invalid_value", "The end must be a date such as 2026-11-30.", {
      param: "until",
    });
  const { reason } = parseForm(SuspendBody, { reason: form.reason, until: at === null ? null : at / 1000 });
  return { reason, until: at };
}
