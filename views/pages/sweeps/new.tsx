/** A new sweep: which values, how they are tried, and every trial with what it takes before anything starts. */
import { formatDuration, formatMoney, plural } from "../../../src/lib/text/format.ts";
import { FIELDS, type PlannedTrial, type SweepPlan } from "../../../src/training/sweeps/model.ts";
import { Layout } from "../../layout.tsx";
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

/** Rows of the plan that are shown; the rest is a number. */
const SHOWN = 30;

function Lines({ form, problems }: NewSweepProps) {
  return (
    <fieldset class="stack tight">
      <legend>What is tried</legend>
      {form.lines.map(({ field, values }, n) => (
        <div class="sweep-line">
          <select name={`field_${n}`} aria-label={`Field ${n + 1}`}>
            <option value="">{n ? "no other field" : "choose a field"}</option>
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
        Values with commas, or a range: <code>1e-5 to 1e-3</code>. A grid takes three of a range; draws take any of it.
      </p>
    </fieldset>
  );
}

function Ways({ form, problems }: NewSweepProps) {
  const drawn = form.strategy !== "grid";
  return (
    <>
      <fieldset class="stack tight">
        <legend>How</legend>
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
            label="One in so many goes on"
            value={form.eta}
            error={problems.eta}
            inputmode="numeric"
          />
        ) : null}
        <TextField
          name="parallel"
          label="At a time"
          value={form.parallel}
          error={problems.parallel}
          inputmode="numeric"
          hint="Trials in the queue at once; the others hold up nobody"
        />
        <TextField
          name="metric"
          label="Compared by"
          value={form.metric}
          error={problems.metric}
          placeholder="auto"
          hint="eval/loss, eval/reward, train/loss …"
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
          Name values, and every trial is listed here with what it takes.
        </Empty>
      </section>
    );
  const going = plan.trials.length - plan.refused;
  const range = plan.seconds_range;
  const cost = plan.cost_range_usd;
  return (
    <section class="panel" aria-labelledby="plan-title">
      <header>
        <h2 id="plan-title">{plural(going, "trial")}</h2>
      </header>
      <div class="body stack">
        {plan.refused ? (
          <Notice kind="warn">{`${plural(plan.refused, "combination")} cannot be trained and will be left out; each says why below.`}</Notice>
        ) : null}
        <KeyValue
          rows={[
            ["Compared by", `${plan.metric}, ${plan.direction === "min" ? "lower" : "higher"} is better`],
            range && ["Work, all trials", `${formatDuration(range[0])} to ${formatDuration(range[1])}`],
            cost && ["Cost", `${formatMoney(cost[0])} to ${formatMoney(cost[1])}`],
          ]}
        />
        <button type="submit" class="button primary block">
          <Icon name="play" />
          Start the sweep
        </button>
        <button type="submit" class="button block only-without-script" formaction="/sweeps/plan">
          Show the trials
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

/** What every trial begins from, in a few words. */
function Begins({ training }: { training: string }) {
  let given: [string, unknown][] = [];
  try {
    given = Object.entries(JSON.parse(training) as Record<string, unknown>);
  } catch {
    // said as a problem of the whole form
  }
  const rows = given.filter(
    ([, value]) => value !== null && value !== undefined && value !== "auto" && typeof value !== "object",
  );
  return (
    <details class="more">
      <summary>
        <Icon name="right" />
        Every trial begins from this training
      </summary>
      <KeyValue rows={rows.map(([name, value]): [string, string] => [name, String(value)])} />
    </details>
  );
}

export function NewSweepFormView(props: NewSweepProps) {
  const { form, problems, plan } = props;
  return (
    <form
      id="sweep-form"
      class="split"
      method="post"
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
          <Ways {...props} />
          <Begins training={form.training} />
        </div>
      </div>
      <aside>
        <Trials plan={plan} />
      </aside>
    </form>
  );
}

export const NewSweepPage = (props: NewSweepProps) => (
  <Layout title="Try several values" crumbs={[{ label: "Sweeps", href: "/sweeps" }]}>
    <NewSweepFormView {...props} />
  </Layout>
);
