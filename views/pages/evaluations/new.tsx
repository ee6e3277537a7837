/** `/evaluations/new`: which model answers which rows, what it is compared with, and an optional grader. */
import type { VNode } from "preact";
import type { EvaluationCost } from "../../../src/evaluation/cost.ts";
import { DEFAULT_ROWS, MAX_ROWS } from "../../../src/evaluation/model.ts";
import { plural } from "../../../src/lib/text/format.ts";
import { Layout } from "../../layout.tsx";
import { PostForm } from "../../parts/allowed.tsx";
import { Field } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Notice } from "../../parts/notice.tsx";
import { GRADER_TEMPLATES } from "../jobs/grader-templates.ts";
import { costRange } from "../jobs/plan-offers.tsx";

/** The form as the user filled it in. */
export interface EvaluationForm {
  model: string;
  against: string;
  dataset: string;
  split: string;
  max_rows: string;
  grader: string;
  name: string;
}

interface DataChoice {
  id: string;
  name: string;
  trainRows: number;
  validationRows: number;
}

export interface NewEvaluationProps {
  form: EvaluationForm;
  bases: string[];
  tuned: string[];
  /** Fine-tuned models with the base of the chosen one. */
  others: string[];
  datasets: DataChoice[];
  /** By field; "" is the form. */
  problems: Record<string, string>;
  /** What it will cost; null while it is unknown, or nothing has a price. */
  cost: EvaluationCost | null;
}

const SPLITS: [string, string, (data: DataChoice) => number][] = [
  ["holdout", "Validation rows", (data) => data.validationRows],
  ["train", "Training rows", (data) => data.trainRows],
  ["all", "All rows", (data) => data.trainRows + data.validationRows],
];

function ModelField({ form, bases, tuned, problems }: NewEvaluationProps) {
  const known = [...bases, ...tuned].includes(form.model);
  return (
    <Field
      id="field-model"
      label="Model"
      error={problems.model}
      render={(ids) => (
        <select name="model" required {...ids}>
          {known || !form.model ? null : <option value={form.model}>{form.model}</option>}
          <optgroup label="Fine-tuned models">
            {tuned.map((id) => (
              <option value={id} selected={id === form.model}>
                {id}
              </option>
            ))}
          </optgroup>
          <optgroup label="Base models">
            {bases.map((id) => (
              <option value={id} selected={id === form.model}>
                {id}
              </option>
            ))}
          </optgroup>
        </select>
      )}
    />
  );
}

function AgainstField({ form, others, problems }: NewEvaluationProps) {
  if (!form.model.startsWith("ft:")) return null;
  const known = !form.against || others.includes(form.against);
  return (
    <Field
      id="field-against"
      label="Compare with"
      error={problems.against}
      hint="Its base model, or another fine-tuned model or checkpoint of the same base."
      render={(ids) => (
        <select name="against" {...ids}>
          <option value="">Base model ({form.model.split(":")[1]})</option>
          {known ? null : (
            <option value={form.against} selected>
              {form.against}
            </option>
          )}
          {others.map((id) => (
            <option value={id} selected={id === form.against}>
              {id}
            </option>
          ))}
        </select>
      )}
    />
  );
}

function DataFields({ form, datasets, problems }: NewEvaluationProps) {
  const chosen = datasets.find((one) => one.id === form.dataset);
  return (
    <>
      <Field
        id="field-dataset"
        label="Dataset"
        error={problems.dataset}
        hint="The newest version of a dataset, or one of its versions."
        render={(ids) => (
          <select name="dataset" required {...ids}>
            {datasets.map((one) => (
              <option value={one.id} selected={one.id === form.dataset}>
                {one.name}
              </option>
            ))}
          </select>
        )}
      />
      <div class="fields">
        <Field
          id="field-split"
          label="Rows"
          error={problems.split}
          render={(ids) => (
            <select name="split" {...ids}>
              {SPLITS.map(([value, label, rows]) => (
                <option value={value} selected={value === form.split} disabled={chosen && rows(chosen) === 0}>
                  {chosen ? `${label} (${rows(chosen)})` : label}
                </option>
              ))}
            </select>
          )}
        />
        <Field
          id="field-max_rows"
          label="At most"
          error={problems.max_rows}
          hint={`Rows that are answered; default ${DEFAULT_ROWS}`}
          render={(ids) => (
            <input
              type="number"
              name="max_rows"
              min={1}
              max={MAX_ROWS}
              value={form.max_rows}
              placeholder={String(DEFAULT_ROWS)}
              {...ids}
            />
          )}
        />
      </div>
    </>
  );
}

function GraderFields({ form, problems }: NewEvaluationProps) {
  return (
    <details class="more" open={Boolean(form.grader || problems.grader)}>
      <summary>
        <Icon name="right" />
        Grader
        <span class="xs muted">{form.grader ? "" : "none: answers are compared by exact match"}</span>
      </summary>
      <div class="row">
        {GRADER_TEMPLATES.map(([value, title, about]) => (
          <button
            type="submit"
            class="button small"
            formmethod="get"
            formaction="/evaluations/new"
            formnovalidate
            name="start"
            value={value}
            title={about}
          >
            {title}
          </button>
        ))}
      </div>
      <Field
        id="field-grader"
        label="Grader as JSON"
        error={problems.grader}
        hint={
          <>
            Fields of a row: <span class="mono">item.prompt</span>, <span class="mono">item.expected</span>; the answer
            is <span class="mono">sample.output_text</span>. See docs/graders.md for all types.
          </>
        }
        render={(ids) => (
          <textarea name="grader" rows={form.grader ? 10 : 3} class="mono" spellcheck={false} {...ids}>
            {form.grader}
          </textarea>
        )}
      />
    </details>
  );
}

function Cost({ cost: { rows, cost_usd: total, per_hour_usd: hour } }: { cost: EvaluationCost }) {
  return (
    <p class="small" id="evaluation-cost">
      Cost for {plural(rows, "row")}:{" "}
      {total ? costRange(total) : "not known before the first evaluation of this base model"}
      {hour ? `, ${costRange(hour)} per hour` : ""}, at the <a href="/pricing">prices in force</a>.
    </p>
  );
}

/** The form. A change fetches it again, because the choices depend on the model and the dataset. */
export function EvaluationFormView(props: NewEvaluationProps): VNode {
  const { form, problems } = props;
  return (
    <PostForm
      id="evaluation-form"
      class="panel"
      action="/evaluations"
      hx-get="/evaluations/new"
      hx-trigger="change target:select"
      hx-target="this"
      hx-swap="outerMorph"
      hx-sync="this:replace"
    >
      <div class="body form">
        {problems[""] ? (
          <Notice kind="bad" alert>
            {problems[""]}
          </Notice>
        ) : null}
        <ModelField {...props} />
        <AgainstField {...props} />
        <DataFields {...props} />
        <GraderFields {...props} />
        <Field
          id="field-name"
          label="Name"
          error={problems.name}
          render={(ids) => (
            <input name="name" value={form.name} placeholder="auto" maxlength={100} autocomplete="off" {...ids} />
          )}
        />
        {props.cost ? <Cost cost={props.cost} /> : null}
        <div class="row">
          <button type="submit" class="button primary">
            Evaluate
          </button>
        </div>
      </div>
    </PostForm>
  );
}

export function NewEvaluationPage(props: NewEvaluationProps) {
  const nothing = props.bases.length === 0 ? "model" : props.datasets.length === 0 ? "dataset" : null;
  return (
    <Layout title="New evaluation" crumbs={[{ label: "Evaluations", href: "/evaluations" }]}>
      {nothing ? (
        <Notice kind="info" title={`An evaluation needs a ${nothing}`}>
          {nothing === "model" ? (
            <a href="/models?tab=base">Install a base model</a>
          ) : (
            <a href="/datasets">Upload a dataset</a>
          )}
        </Notice>
      ) : (
        <div class="stack reading">
          <p class="muted">
            The model answers the rows of a dataset, and each answer is compared with the expected one. A fine-tuned
            model is compared with its base model or with another fine-tuned model on the same rows.
          </p>
          <EvaluationFormView {...props} />
        </div>
      )}
    </Layout>
  );
}
