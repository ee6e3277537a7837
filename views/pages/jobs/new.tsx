/**
 * `/jobs/new`: the form of a new job beside its plan. Only data, base model and method are required; everything else is
 * `auto` and shows its resolved value.
 */
import type { VNode } from "preact";
import { plural } from "../../../src/lib/text/format.ts";
import { Layout } from "../../layout.tsx";
import { PostForm } from "../../parts/allowed.tsx";
import { Field } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { BaseField } from "./base-field.tsx";
import { GraderField } from "./grader-field.tsx";
import { Hyperparameters, Scheduling } from "./hyperparameter-fields.tsx";
import { MethodField } from "./method-field.tsx";
import { type NewJobProps, rowTypeOf } from "./new-props.ts";
import { Plan } from "./plan.tsx";

/** Rows to validate on: a split of the data, or another dataset of the same type. */
function ValidationField({ form, datasets, problems }: NewJobProps) {
  const type = datasets.find((one) => one.id === form.data)?.rowType;
  const others = datasets.filter((one) => one.id !== form.data && one.status === "ready" && one.rowType === type);
  if (others.length === 0 && !form.validation) return null;
  return (
    <Field
      id="field-validation"
      label="Validation data"
      error={problems.validation}
      render={(ids) => (
        <select name="validation" {...ids}>
          <option value="">Validation split of the data</option>
          {others.some((one) => one.id === form.validation) || !form.validation ? null : (
            <option value={form.validation} selected>
              {form.validation}
            </option>
          )}
          {others.map((one) => (
            <option value={one.id} selected={one.id === form.validation}>
              {one.name} ({plural(one.trainRows, "row")})
            </option>
          ))}
        </select>
      )}
    />
  );
}

function DataField({ form, datasets, problems }: NewJobProps) {
  return (
    <Field
      id="field-data"
      label="Data"
      error={problems.data}
      hint={
        <>
          <a href="/datasets">Upload a dataset</a> if it is not listed.
        </>
      }
      render={(ids) => (
        <select name="data" required {...ids}>
          {datasets.some((one) => one.id === form.data) ? null : (
            <option value={form.data}>{form.data || "Choose a dataset"}</option>
          )}
          {datasets.map((one) => (
            <option value={one.id} selected={one.id === form.data} disabled={one.status === "failed"}>
              {one.name}
              {one.status === "ready" ? ` (${plural(one.trainRows, "row")})` : ` (${one.status.replaceAll("_", " ")})`}
            </option>
          ))}
        </select>
      )}
    />
  );
}

/** The form with its plan. Every change posts the form and morphs it in place, which keeps unsaved input. */
export function NewJobFormView(props: NewJobProps): VNode {
  const { form, problems } = props;
  const rows = rowTypeOf(props);
  const graded = form.method === "grpo" || (form.method === "auto" && rows === "prompt");
  return (
    <PostForm
      id="job-form"
      class="split"
      action="/jobs"
      hx-post="/jobs/plan"
      hx-trigger="input delay:300ms, change, refresh"
      data-on="models datasets"
      hx-target="this"
      hx-swap="outerMorph"
      hx-sync="this:replace"
      hx-validate="false"
      novalidate
    >
      <div class="panel">
        <div class="body form">
          {problems[""] ? (
            <Notice kind="bad" alert>
              {problems[""]}
            </Notice>
          ) : null}
          <DataField {...props} />
          <ValidationField {...props} />
          <BaseField {...props} />
          <MethodField chosen={form.method} rows={rows} problem={problems.method} />
          {graded ? (
            <GraderField
              grader={form.grader}
              answer={form.answer}
              item={props.item}
              tried={props.tried}
              outcome={props.outcome}
              problem={problems.grader}
            />
          ) : null}
          <Field
            id="field-name"
            label="Name"
            error={problems.name}
            hint="Part of the fine-tuned model's ID: letters, digits and dashes, at most 64 characters"
            render={(ids) => (
              <input name="name" value={form.name} placeholder="auto" maxlength={64} autocomplete="off" {...ids} />
            )}
          />
          {graded ? null : (
            <label class="check">
              <input type="checkbox" name="evaluate" value="1" checked={form.evaluate} />
              <span>
                Evaluate before and after training
                <span class="xs muted"> (base and fine-tuned model on the validation rows)</span>
              </span>
            </label>
          )}
          <Hyperparameters {...props} />
          <Scheduling {...props} />
        </div>
      </div>
      <aside class="stack">
        <Plan view={props.plan} ready={Boolean(form.data && form.model)} />
        <button type="submit" class="button block" formaction="/jobs/sweep" formnovalidate>
          <Icon name="compare" />
          Sweep
        </button>
      </aside>
    </PostForm>
  );
}

export function NewJobPage(props: NewJobProps) {
  return (
    <Layout
      title={props.from ? `Change and run “${props.from}”` : "New job"}
      crumbs={[{ label: "Jobs", href: "/jobs" }]}
      live={{ topics: ["models", "datasets"] }}
    >
      {props.datasets.length ? (
        <NewJobFormView {...props} />
      ) : (
        <div class="panel">
          <Empty
            icon="data"
            title="A job needs data"
            action={
              <>
                <a class="button" href="/datasets">
                  <Icon name="upload" />
                  Upload a dataset
                </a>
                <PostForm action="/datasets/sample">
                  <button type="submit" class="button primary">
                    Use the sample dataset
                  </button>
                </PostForm>
              </>
            }
          >
            Upload examples of good answers as chat JSONL, CSV, Alpaca, ShareGPT or preference pairs. Or use the sample
            dataset: it turns bank messages into strict JSON, and fine-tuning improves it visibly.
          </Empty>
        </div>
      )}
    </Layout>
  );
}
