/** How a new job learns: a method that fits what the rows are; the others stay in sight, with what they would need. */
import type { MethodName, RowType } from "../../../src/contract/spec.ts";
import { RULES } from "../../../src/contract/support.ts";
import { Icon } from "../../parts/icons.tsx";
import { METHOD_NAMES } from "./describe.ts";

interface Choice {
  title: string;
  about: string;
  needs: string;
}

const CHOICES: Record<MethodName, Choice> = {
  sft: {
    title: "Supervised (SFT)",
    about: "Learns to answer like the examples.",
    needs: "Needs conversations.",
  },
  dpo: {
    title: "Preferences (DPO)",
    about: "Learns to prefer one answer over another, held to the model it began from.",
    needs: "Needs pairs of answers.",
  },
  orpo: {
    title: "Preferences, no reference (ORPO)",
    about: "Learns to answer and to prefer in one go; needs less memory than DPO.",
    needs: "Needs pairs of answers.",
  },
  kto: {
    title: "Marked answers (KTO)",
    about: "Learns from answers marked good or bad, such as thumbs up and down.",
    needs: "Needs marked answers.",
  },
  reward: {
    title: "Reward model",
    about: "Learns to score answers. The result judges and does not chat.",
    needs: "Needs pairs of answers.",
  },
  pretrain: {
    title: "Continued pre-training",
    about: "Learns the language and facts of plain text.",
    needs: "Needs plain text.",
  },
};

/** Whether the table of what goes together lets a method learn from such rows. */
const fits = (method: MethodName, rows: RowType): boolean =>
  !RULES.some(
    ({ when }) =>
      Object.keys(when).length === 2 && when.method?.includes(method) === true && when.rows?.includes(rows) === true,
  );

/** `rows` null: the data is not known yet. `resolved`: what auto comes to. */
export function MethodField({
  chosen,
  rows,
  resolved,
  problem,
}: {
  chosen: string;
  rows: RowType | null;
  resolved: MethodName | null;
  problem?: string;
}) {
  const all = Object.keys(CHOICES) as MethodName[];
  return (
    <fieldset class="field" aria-describedby={problem ? "field-method-error" : undefined}>
      <legend>Method</legend>
      <div class="choices two">
        <label class="choice">
          <input type="radio" name="method" value="auto" checked={chosen === "auto"} required />
          <span>
            <strong>Automatic{resolved && chosen === "auto" ? `: ${METHOD_NAMES[resolved]}` : ""}</strong>
            <span class="xs muted">By what the rows of the data are.</span>
          </span>
        </label>
        {all.map((method) => {
          const open = rows === null || fits(method, rows);
          const { title, about, needs } = CHOICES[method];
          return (
            <label class="choice" aria-disabled={open ? undefined : "true"}>
              <input type="radio" name="method" value={method} checked={chosen === method} disabled={!open} />
              <span>
                <strong>{title}</strong>
                <span class="xs muted">{open ? about : `${about} ${needs}`}</span>
              </span>
            </label>
          );
        })}
      </div>
      {problem ? (
        <div class="error" id="field-method-error">
          <Icon name="warn" />
          <span>{problem}</span>
        </div>
      ) : (
        <div class="hint">Each trains a small adapter; the base model stays as it is.</div>
      )}
    </fieldset>
  );
}
