/**
 * The grader of a reinforcement job: JSON, templates to start from, and a test on the first row.
 */
import type { Tried } from "../../../src/graders/training.ts";
import { Field } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";
import { GRADER_TEMPLATES } from "./grader-templates.ts";

interface Props {
  grader: string;
  answer: string;
  /** Fields of the first row; null while unknown. */
  item: Record<string, unknown> | null;
  tried: Tried | null;
  outcome: string;
  problem?: string;
}

function Outcome({ rowId, reward, error }: Tried) {
  if (error)
    return (
      <Notice kind="bad" title={`The grader failed on row ${rowId}`}>
        {error}
      </Notice>
    );
  return (
    <Notice kind={reward > 0 ? "ok" : "info"}>
      This answer to row {rowId} gets a reward of {Number(reward.toPrecision(4))}.
    </Notice>
  );
}

export function GraderField({ grader, answer, item, tried, outcome, problem }: Props) {
  const names = Object.keys(item ?? {}).slice(0, 8);
  return (
    <fieldset class="field stack tight">
      <legend>Grader</legend>
      <p class="hint">
        Rewards every completion of the model. Start from a template and edit it; see docs/graders.md for all types.
      </p>
      <div class="row">
        {GRADER_TEMPLATES.map(([value, title, about]) => (
          <button type="submit" class="button small" formaction="/jobs/plan" name="start" value={value} title={about}>
            {title}
          </button>
        ))}
      </div>
      <Field
        id="field-grader"
        label="Grader as JSON"
        error={problem}
        hint={
          names.length ? (
            <>
              Fields of the rows: <span class="mono">{names.map((name) => `item.${name}`).join(", ")}</span>; the
              completion is <span class="mono">sample.output_text</span>.
            </>
          ) : null
        }
        render={(ids) => (
          <textarea name="grader" rows={grader ? 12 : 4} class="mono" spellcheck={false} autocomplete="off" {...ids}>
            {grader}
          </textarea>
        )}
      />
      {grader ? (
        <>
          <Field
            id="field-answer"
            label="Test with an answer to the first row"
            render={(ids) => <input name="answer" value={answer} autocomplete="off" dir="auto" {...ids} />}
          />
          <div class="row">
            <button type="submit" class="button" formaction="/jobs/plan" name="try" value="1">
              Grade this answer
            </button>
          </div>
          {tried ? (
            <>
              <input type="hidden" name="outcome" value={outcome} />
              <Outcome {...tried} />
            </>
          ) : null}
        </>
      ) : null}
    </fieldset>
  );
}
