/** A new sweep: values, search strategy, and a plan of all trials with time and cost before anything starts. */
import { formatDuration, formatMoney, plural } from "../../../src/lib/text/format.ts";
import { FIELDS, type PlannedTrial, type SweepPlan } from "../../../src/training/sweeps/model.ts";
import { Layout } from "../../layout.tsx";
import { PostForm } from "../../parts/allowed.tsx";
import { Field, TextField } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { type Column, Table } from "../../parts/table.tsx";
import { KeyValue } from "../../parts/value.tsx";
import type { SweepForm } from "./form.ts";
import { STRATEGIES, valuesOf } from "./words.ts";

interface NewSweepProps {
  form: SweepForm;
  plan: SweepPlan | null;
  problems: Record<string, string>;
}

/** Most rows of the plan that are shown. */
const SHOWN = 30;

function Lines({ form, problems }: NewSweepProps) {
  return (
    <fieldset class="stack tight">
      <legend>Values</legend>
      {form.lines.map(({ field, values }, n) => (
        <div class="sweep-line">
          <select name={`field_${n}`} aria-label={`Field ${n + 1}`}>
            <option value="">{n ? "no other field" : "select a field"}</option>
            {FIELDS.map((name) => (
              <option value={name} selected={name === field}>
                {name}
              </option>
            ))}
          </select>
          <Field
            id={`field-values-${n}`}
            label={`Values ${n + 1}`}
            error={problems[`values_${n}`]}
            render={(ids) => (
              <input
                name={`values_${n}`}
                value={values}
                placeholder={n ? "" : "1e-4, 3e-4, 1e-3"}
                maxlength={1000}
                autocomplete="off"
                {...ids}
              />
            )}
          />
        </div>
      ))}
      <p class="muted small">
        Comma-separated values, or a range such as <code>1e-5 to 1e-3</code>. A grid uses three values of a range;
        random draws use the whole range.
      </p>
    </fieldset>
  );
}

function Search({ form, problems }: NewSweepProps) {
  const drawn = form.strategy !== "grid";
  return (
    <>
      <fieldset class="stack tight">
        <legend>Search strategy</legend>
        {Object.entries(STRATEGIES).map(([key, [title, about]]) => (
          <label class="check">
            <input type="radio" name="strategy" value={key} checked={form.strategy === key} />
            <span>
              {title} <span class="xs muted">{about}</span>
            </span>
          </label>
        ))}
      </fieldset>
      <div class="stack loose numbers">
        {drawn ? (
          <>
            <TextField name="trials" label="Trials" value={form.trials} error={problems.trials} inputmode="numeric" />
            <TextField
              name="seed"
              label="Seed"
              value={form.seed}
              error={problems.seed}
              inputmode="numeric"
              hint="The same seed draws the same trials"
            />
          </>
        ) : null}
        {form.strategy === "halving" ? (
          <TextField
            name="eta"
            label="Reduction factor (eta)"
            value={form.eta}
            error={problems.eta}
            inputmode="numeric"
            hint="At each rung, one trial in eta continues"
          />
        ) : null}
        <TextField
          name="parallel"
          label="Parallel trials"
          value={form.parallel}
          error={problems.parallel}
          inputmode="numeric"
          hint="Most trials that are queued or running at a time"
        />
        <TextField
          name="metric"
          label="Metric"
          value={form.metric}
          error={problems.metric}
          placeholder="auto"
          hint="eval/loss, eval/reward, train/loss …"
        />
        <TextField
          name="max_cost_usd"
          label="Maximum cost (USD)"
          value={form.max_cost_usd}
          error={problems.max_cost_usd}
          inputmode="decimal"
          placeholder="no limit"
          hint="Of all trials. Before they pass it, they save checkpoints and wait until you raise its budget."
        />
      </div>
    </>
  );
}

const COLUMNS: Column<PlannedTrial>[] = [
  {
    key: "values",
    label: "Trial",
    name: true,
    render: (row) => (
      <>
        {`${row.number}. ${valuesOf(row.values)}`}
        {row.refused ? <span class="sub">{row.refused}</span> : null}
        {row.rungs.length ? <span class="sub">{`compared at step ${row.rungs.join(", ")}`}</span> : null}
      </>
    ),
  },
  { key: "steps", label: "Steps", end: true, render: (row) => row.steps ?? "refused" },
];

function Trials({ plan }: { plan: SweepPlan | null }) {
  if (!plan)
    return (
      <section class="panel">
        <Empty slim icon="compare" title="No plan yet">
          Enter values to see every trial with its time and cost.
        </Empty>
      </section>
    );
  const accepted = plan.trials.length - plan.refused;
  const range = plan.seconds_range;
  const cost = plan.cost_usd;
  const { max_cost_usd: max } = plan;
  return (
    <section class="panel" aria-labelledby="plan-title">
      <header>
        <h2 id="plan-title">{plural(accepted, "trial")}</h2>
      </header>
      <div class="body stack">
        {plan.refused ? (
          <Notice kind="warn">{`${plural(plan.refused, "combination")} cannot be trained and will be skipped. The reasons are below.`}</Notice>
        ) : null}
        {cost && max !== null && cost[1] > max ? (
          <Notice kind="warn">{`The trials may cost more than ${formatMoney(max)}: then they save checkpoints and wait until you raise the budget of the sweep.`}</Notice>
        ) : null}
        <KeyValue
          rows={[
            ["Metric", `${plan.metric}, ${plan.direction === "min" ? "lower" : "higher"} is better`],
            range && ["Time, all trials", `${formatDuration(range[0])} to ${formatDuration(range[1])}`],
            cost && ["Cost", `${formatMoney(cost[0])} to ${formatMoney(cost[1])}`],
            plan.max_cost_usd !== null && ["Maximum cost", formatMoney(plan.max_cost_usd)],
          ]}
        />
        <button type="submit" class="button primary block">
          <Icon name="play" />
          Start sweep
        </button>
        <button type="submit" class="button block only-without-script" formaction="/sweeps/plan">
          Show trials
        </button>
      </div>
      <Table
        label="Trials"
        columns={COLUMNS}
        rows={plan.trials.slice(0, SHOWN)}
        rowId={(row) => `plan-${row.number}`}
        still
      />
      {plan.trials.length > SHOWN ? <p class="muted small pad">{`and ${plan.trials.length - SHOWN} more`}</p> : null}
    </section>
  );
}

/** The shared training request, as pairs of fields and values. */
function BaseTraining({ training }: { training: string }) {
  let given: [string, unknown][] = [];
  try {
    given = Object.entries(JSON.parse(training) as Record<string, unknown>);
  } catch {
    // reported as a problem of the whole form
  }
  const rows = given.filter(
    ([, value]) => value !== null && value !== undefined && value !== "auto" && typeof value !== "object",
  );
  return (
    <details class="more">
      <summary>
        <Icon name="right" />
        Base training of all trials
      </summary>
      <KeyValue rows={rows.map(([name, value]): [string, string] => [name, String(value)])} />
    </details>
  );
}

export function NewSweepFormView(props: NewSweepProps) {
  const { form, problems, plan } = props;
  return (
    <PostForm
      id="sweep-form"
      class="split"
      action="/sweeps"
      hx-post="/sweeps/plan"
      hx-trigger="input delay:400ms, change"
      hx-target="this"
      hx-swap="outerMorph"
      hx-sync="this:replace"
      hx-validate="false"
      novalidate
    >
      <input type="hidden" name="training" value={form.training} />
      <div class="panel">
        <div class="body form">
          {problems[""] ? (
            <Notice kind="bad" alert>
              {problems[""]}
            </Notice>
          ) : null}
          <TextField name="name" label="Name" value={form.name} placeholder="auto" maxlength={120} autocomplete="off" />
          <Lines {...props} />
          <Search {...props} />
          <BaseTraining training={form.training} />
        </div>
      </div>
      <aside>
        <Trials plan={plan} />
      </aside>
    </PostForm>
  );
}

export const NewSweepPage = (props: NewSweepProps) => (
  <Layout title="New sweep" crumbs={[{ label: "Sweeps", href: "/sweeps" }]}>
    <NewSweepFormView {...props} />
  </Layout>
);
