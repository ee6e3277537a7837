/**
 * `/jobs/new`: what will this do, take and cost? Three choices; every other number is `auto` with what it resolves to
 * beside it.
 */
import type { VNode } from "preact";
import type { RowType } from "../../../src/contract/spec.ts";
import { knows, METHOD_FOR } from "../../../src/contract/support.ts";
import type { Tried } from "../../../src/graders/training.ts";
import { formatCount, plural } from "../../../src/lib/text/format.ts";
import { Layout } from "../../layout.tsx";
import { Field } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import type { PlaceForm } from "../queue/form.ts";
import { PlaceFields } from "../queue/place.tsx";
import { FIELDS, type NumberField, resolvedOf } from "./fields.ts";
import { GraderField } from "./grader-field.tsx";
import { MethodField } from "./method-field.tsx";
import { Plan, type PlanView } from "./plan.tsx";

interface DataChoice {
  id: string;
  name: string;
  status: string;
  trainRows: number;
  /** Null while it is not known. */
  rowType: RowType | null;
}

/** A tuned model a run may go on from. */
interface TunedChoice {
  id: string;
  base: string;
}

interface BaseChoice {
  id: string;
  name: string;
  status: "available" | "installing" | "ready" | "failed";
  parameters: number | null;
  contextLength: number | null;
  license: string;
  /** The license was accepted, or needs no acceptance. */
  accepted: boolean;
}

/** What the form holds, as typed. Empty text of a number means `auto`. */
interface NewJobForm {
  data: string;
  model: string;
  method: string;
  name: string;
  evaluate: boolean;
  grader: string;
  answer: string;
  numbers: Record<string, string>;
  place: PlaceForm;
}

interface NewJobProps {
  admin: boolean;
  form: NewJobForm;
  datasets: DataChoice[];
  bases: BaseChoice[];
  tuned: TunedChoice[];
  plan: PlanView | null;
  /** What graders know of the first row of prompts; null for other rows. */
  item: Record<string, unknown> | null;
  /** What the grader made of the answer it was tried on. */
  tried: Tried | null;
  /** The same as the form sends it along. */
  outcome: string;
  /** Message by field name; `` for the whole form. */
  problems: Record<string, string>;
  /** Name of the job this one is a changed copy of. */
  from: string | null;
}

function DataField({ form, datasets, problems }: NewJobProps) {
  return (
    <Field
      id="field-data"
      label="Data"
      error={problems.data}
      hint={
        <>
          Not there yet? <a href="/datasets">Upload a dataset</a>.
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

/** The button belongs to a form outside this one: forms do not nest. */
function NoBase({ bases }: Pick<NewJobProps, "bases">) {
  const installing = bases.find((one) => one.status === "installing");
  if (installing)
    return (
      <Notice kind="info" title={`${installing.name} is being installed`}>
        <p>
          <a href={`/models/${encodeURIComponent(installing.id)}`}>See how far it is</a>; this page goes on by itself
          when it is done.
        </p>
      </Notice>
    );
  return (
    <Notice kind="warn" title="No base model is installed yet">
      <p>The small default downloads 100 MB, takes about a minute and needs no graphics card.</p>
      <div class="row">
        <button type="submit" class="button" form="install-default">
          <Icon name="download" />
          Install SmolLM2-135M-Instruct
        </button>
        <a href="/models?tab=base">Other models</a>
      </div>
    </Notice>
  );
}

/** Models of before to go on from, out of the way of whoever begins anew. */
function TunedChoices({ form, tuned }: Pick<NewJobProps, "form" | "tuned">) {
  if (!tuned.length) return null;
  return (
    <details class="more" open={form.model.startsWith("ft:")}>
      <summary>
        <Icon name="right" />
        Go on from a tuned model
        <span class="xs muted">its adapter, or all of it, is trained further</span>
      </summary>
      <div class="choices">
        {tuned.map((one) => (
          <label class="choice">
            <input type="radio" name="model" value={one.id} checked={one.id === form.model} />
            <span>
              <strong class="clip">{one.id}</strong>
              <span class="xs muted">from {one.base}</span>
            </span>
          </label>
        ))}
      </div>
    </details>
  );
}

function BaseField({ form, bases, tuned, problems }: NewJobProps) {
  const usable = bases.filter((one) => one.status === "ready" && one.accepted);
  const others = bases.length - usable.length;
  return (
    <fieldset class="field" aria-describedby={problems.model ? "field-model-error" : undefined}>
      <legend>Base model</legend>
      {usable.length ? (
        <div class="choices two">
          {usable.map((one) => (
            <label class="choice">
              <input type="radio" name="model" value={one.id} checked={one.id === form.model} required />
              <span>
                <strong class="clip">{one.name}</strong>
                <span class="xs muted">
                  {formatCount(one.parameters)} parameters, {formatCount(one.contextLength)} tokens of context,{" "}
                  <span class="nowrap">{one.license}</span>
                </span>
              </span>
            </label>
          ))}
        </div>
      ) : (
        <NoBase bases={bases} />
      )}
      <TunedChoices form={form} tuned={tuned} />
      {problems.model ? (
        <div class="error" id="field-model-error">
          <Icon name="warn" />
          <span>{problems.model}</span>
        </div>
      ) : null}
      {others > 0 && usable.length ? (
        <div class="hint">
          <a href="/models">{plural(others, "more model")}</a> can be installed.
        </div>
      ) : null}
    </fieldset>
  );
}

function NumberInput({
  field,
  form,
  plan,
  problems,
}: { field: NumberField } & Pick<NewJobProps, "form" | "plan" | "problems">) {
  const value = form.numbers[field.name] ?? "";
  const resolved = plan ? resolvedOf(plan.plan.spec)[field.name] : undefined;
  const why = value === "" ? plan?.plan.reasons[field.name] : undefined;
  return (
    <Field
      id={`field-${field.name}`}
      label={field.label}
      error={problems[field.name]}
      hint={why ?? field.hint}
      render={(ids) =>
        field.options ? (
          <select name={field.name} {...ids}>
            <option value="">{resolved === undefined ? "auto" : `auto, ${resolved}`}</option>
            {field.options.map(([key, label]) => (
              <option value={key} selected={key === value}>
                {label}
              </option>
            ))}
          </select>
        ) : (
          <input
            name={field.name}
            value={value}
            placeholder={resolved === undefined ? "auto" : `auto, ${resolved}`}
            inputmode="decimal"
            autocomplete="off"
            {...ids}
          />
        )
      }
    />
  );
}

/** What the rows of the chosen data are; null while nobody knows. */
const rowsOf = ({ datasets, form }: NewJobProps): RowType | null =>
  datasets.find((one) => one.id === form.data && one.status === "ready")?.rowType ?? null;

function Numbers(props: NewJobProps) {
  const rows = rowsOf(props);
  const { method: chosen } = props.form;
  const method = chosen === "auto" && rows ? METHOD_FOR[rows] : chosen;
  const fields = FIELDS.filter((field) => knows(method, field.name));
  const groups = Map.groupBy(fields, (field) => field.group);
  const names = new Set(fields.map((field) => field.name));
  const open =
    Object.values(props.form.numbers).some(Boolean) || Object.keys(props.problems).some((name) => names.has(name));
  return (
    <details class="more" open={open}>
      <summary>
        <Icon name="right" />
        Every number
        <span class="xs muted">auto unless you write one</span>
      </summary>
      <div class="stack loose numbers">
        {[...groups].map(([group, members]) => (
          <fieldset class="stack tight">
            <legend>{group}</legend>
            <div class="fields">
              {members.map((field) => (
                <NumberInput field={field} form={props.form} plan={props.plan} problems={props.problems} />
              ))}
            </div>
          </fieldset>
        ))}
      </div>
    </details>
  );
}

const PLACE = ["priority", "not_before", "deadline", "from", "until", "tz", "days"] as const;

function Place({ form, problems, admin }: NewJobProps) {
  const { priority, not_before, deadline, from, until, days } = form.place;
  const said = [not_before, deadline, from, until].some(Boolean) || days.length > 0 || !["", "0"].includes(priority);
  return (
    <details class="more" open={said || PLACE.some((name) => problems[name])}>
      <summary>
        <Icon name="right" />
        Its place in the queue
        <span class="xs muted">as soon as possible unless you say otherwise</span>
      </summary>
      <div class="stack loose numbers">
        <PlaceFields form={form.place} problems={problems} admin={admin} />
      </div>
    </details>
  );
}

/** The form with its plan: sent whole on every change and morphed, so that nothing typed is lost. */
export function NewJobFormView(props: NewJobProps): VNode {
  const { form, problems } = props;
  const rows = rowsOf(props);
  const graded = form.method === "grpo" || (form.method === "auto" && rows === "prompt");
  return (
    <form
      id="job-form"
      class="split"
      method="post"
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
            hint="Part of the tuned model's id. Letters, digits and dashes, at most 64."
            render={(ids) => (
              <input name="name" value={form.name} placeholder="auto" maxlength={64} autocomplete="off" {...ids} />
            )}
          />
          {graded ? null : (
            <label class="check">
              <input type="checkbox" name="evaluate" value="1" checked={form.evaluate} />
              <span>
                Compare before and after when training ends
                <span class="xs muted"> (base and tuned model answer the held-out rows)</span>
              </span>
            </label>
          )}
          <Numbers {...props} />
          <Place {...props} />
        </div>
      </div>
      <aside class="stack">
        <Plan view={props.plan} ready={Boolean(form.data && form.model)} />
        <button type="submit" class="button block" formaction="/jobs/sweep" formnovalidate>
          <Icon name="compare" />
          Try several values
        </button>
      </aside>
    </form>
  );
}

export function NewJobPage(props: NewJobProps) {
  return (
    <Layout
      title={props.from ? `Change and run “${props.from}”` : "New job"}
      crumbs={[{ label: "Jobs", href: "/jobs" }]}
      live={{ topics: ["models", "datasets"] }}
    >
      <form id="install-default" method="post" action="/models/smollm2-135m-instruct/install">
        <input type="hidden" name="next" value="/jobs/new" />
      </form>
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
                <form method="post" action="/datasets/sample">
                  <button type="submit" class="button primary">
                    Use the sample dataset
                  </button>
                </form>
              </>
            }
          >
            Bring examples of what the model should answer: chat JSONL, CSV, Alpaca, ShareGPT or pairs of answers. Or
            try it with ours: bank messages to strict JSON, where tuning shows at once.
          </Empty>
        </div>
      )}
    </Layout>
  );
}
