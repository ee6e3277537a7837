/** `/usage/budgets`: what the team, its users, keys, jobs and sweeps may cost, and what of that is used. */
import type { BudgetView } from "../../../src/billing/budgets/model.ts";
import { formatMoney, formatNumber } from "../../../src/lib/text/format.ts";
import { Layout } from "../../layout.tsx";
import { ConfirmForm, Field, SheetForm } from "../../parts/form.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { Time } from "../../parts/value.tsx";
import type { BudgetForm } from "./budget-form.ts";

export interface BudgetsProps {
  budgets: BudgetView[];
  /** Names of users, keys, jobs and sweeps, by id. */
  names: Record<string, string>;
  /** What the viewer may set a budget for: value of the option and its label. */
  targets: [string, string][];
  /** Those that the viewer may change in any way; the service decides about lower limits. */
  manages: boolean;
  /** A form that was refused, its message, and the budget that it changes; null = a new one. */
  refused?: { form: BudgetForm; error: string; id: string | null };
}

const KINDS = { user: "User", key: "API key", job: "Job", sweep: "Sweep" } as const;
const LINKS = { job: "/jobs/", sweep: "/sweeps/", key: "/settings/keys/" } as const;

/** What a budget is for, with a link to it. */
function Target({ budget, names }: { budget: BudgetView; names: Record<string, string> }) {
  const { scope, scope_id: id } = budget;
  if (scope === "team") return <>The whole team</>;
  if (scope === "installation") return <>The whole team, set by the installation</>;
  const name = <span dir="auto">{names[id] ?? id}</span>;
  return (
    <>
      {KINDS[scope]} {scope === "user" ? name : <a href={`${LINKS[scope]}${encodeURIComponent(id)}`}>{name}</a>}
    </>
  );
}

/** One limit: used and reserved parts of it, and what is left. */
function Bar(props: { label: string; used: number; reserved: number; limit: number; show: (value: number) => string }) {
  const { label, used, reserved, limit, show } = props;
  const share = (value: number) => (limit > 0 ? Math.min(100, Math.max(0, (value / limit) * 100)) : 100);
  const [first, second] = [share(used), share(used + reserved)];
  const left = Math.max(0, limit - used - reserved);
  return (
    <div class={used >= limit * 0.8 ? "progress full" : "progress"}>
      <div class="words">
        <span>{label}</span>
        <span class="num">
          {show(used)} of {show(limit)}
        </span>
      </div>
      <svg class="budget-bar" viewBox="0 0 100 1" preserveAspectRatio="none" role="img">
        <title>{`${show(used)} used, ${show(reserved)} reserved, ${show(left)} left`}</title>
        <rect class="all" width="100" height="1" />
        <rect class="reserved" width={second} height="1" />
        <rect class="used" width={first} height="1" />
      </svg>
      <div class="words small muted">
        <span>{reserved > 0 ? `${show(reserved)} reserved by running work` : "nothing reserved"}</span>
        <span class="num">{show(left)} left</span>
      </div>
    </div>
  );
}

const hours = (value: number) => `${formatNumber(value)} GPU-hours`;

/** The bars of a budget. */
export function BudgetBars({ budget }: { budget: BudgetView }) {
  return (
    <>
      {budget.limit_usd === null ? null : (
        <Bar
          label="Dollars"
          used={budget.used_usd}
          reserved={budget.reserved_usd}
          limit={budget.limit_usd}
          show={formatMoney}
        />
      )}
      {budget.limit_gpu_hours === null ? null : (
        <Bar
          label="GPU time"
          used={budget.used_gpu_hours}
          reserved={budget.reserved_gpu_hours}
          limit={budget.limit_gpu_hours}
          show={hours}
        />
      )}
    </>
  );
}

function LimitFields({ form, id }: { form: Pick<BudgetForm, "limit_usd" | "limit_gpu_hours">; id: string }) {
  const fields = [
    ["limit_usd", "Limit in USD", "no limit in dollars"],
    ["limit_gpu_hours", "Limit in GPU-hours", "no limit in GPU-hours"],
  ] as const;
  return (
    <div class="fields">
      {fields.map(([name, label, placeholder]) => (
        <Field
          id={`${id}-${name}`}
          label={label}
          render={(ids) => (
            <input
              name={name}
              inputmode="decimal"
              maxlength={20}
              value={form[name]}
              placeholder={placeholder}
              {...ids}
            />
          )}
        />
      ))}
    </div>
  );
}

const typed = (value: number | null) => (value === null ? "" : String(value));

function BudgetPanel({
  budget,
  names,
  manages,
  refused,
}: { budget: BudgetView } & Omit<BudgetsProps, "budgets" | "targets">) {
  const { id } = budget;
  const path = `/usage/budgets/${encodeURIComponent(id)}`;
  const mine = refused?.id === id ? refused : undefined;
  const shown = mine?.form ?? { limit_usd: typed(budget.limit_usd), limit_gpu_hours: typed(budget.limit_gpu_hours) };
  const changes = budget.scope !== "installation" && (manages || ["key", "job", "sweep"].includes(budget.scope));
  return (
    <section class="panel" aria-labelledby={`budget-${id}`}>
      <header>
        <h2 id={`budget-${id}`}>
          <Target budget={budget} names={names} />
        </h2>
        <span class="tag">{budget.period === "month" ? "every month" : "in total"}</span>
      </header>
      <div class="body stack">
        {budget.used_percent === 100 ? (
          <Notice kind="bad" title="Used up">
            Running work saved a checkpoint and waits, and requests to models are refused, until the limit is raised
            {budget.resets_at === null ? "" : " or the next month begins"}.
          </Notice>
        ) : null}
        <BudgetBars budget={budget} />
        <div class="row between">
          <span class="small muted">
            {budget.resets_at === null ? (
              "counts everything since the beginning"
            ) : (
              <>
                begins again <Time at={budget.resets_at * 1000} />
              </>
            )}
          </span>
          {changes ? (
            <div class="row">
              <SheetForm
                id={`change-${id}`}
                action={path}
                label="Change limit"
                buttonClass="button small"
                title="Change the limits of this budget"
                verb="Save limits"
                error={mine?.error}
              >
                <p class="muted small">
                  A higher limit lets work go on that waits for it. A lower one stops running work with a checkpoint.
                </p>
                <LimitFields form={shown} id={id} />
              </SheetForm>
              <ConfirmForm
                id={`delete-${id}`}
                action={`${path}/delete`}
                label="Delete"
                buttonClass="button small danger"
                title="Delete this budget?"
                lost="Nothing is limited by it any more, and work that waits for it starts. What was used stays in the ledger."
                verb="Delete this budget"
              />
            </div>
          ) : null}
        </div>
      </div>
    </section>
  );
}

/** The form of a new budget. */
function NewBudget({ targets, refused }: Pick<BudgetsProps, "targets" | "refused">) {
  const mine = refused?.id === null ? refused : undefined;
  const form = mine?.form ?? { target: "team", period: "month", limit_usd: "", limit_gpu_hours: "" };
  if (targets.length === 0) return null;
  return (
    <SheetForm
      id="budget"
      action="/usage/budgets"
      label="Set budget"
      icon="plus"
      title="Set a budget"
      verb="Set budget"
      error={mine?.error}
    >
      <p class="muted small">
        Work that does not fit into what is left waits in the queue. Running work saves a checkpoint and stops before a
        limit is passed. Nothing is lost.
      </p>
      <div class="field">
        <label for="budget-target">For</label>
        <select id="budget-target" name="target">
          {targets.map(([value, label]) => (
            <option value={value} selected={value === form.target}>
              {label}
            </option>
          ))}
        </select>
      </div>
      <div class="field">
        <label for="budget-period">Period</label>
        <select id="budget-period" name="period">
          <option value="month">Every month (UTC)</option>
          <option value="total" selected={form.period === "total"}>
            In total
          </option>
        </select>
      </div>
      <LimitFields form={form} id="new" />
    </SheetForm>
  );
}

export function BudgetsPage(props: BudgetsProps) {
  const { budgets, targets, refused } = props;
  return (
    <Layout
      title="Budgets"
      crumbs={[{ label: "Usage", href: "/usage" }]}
      actions={<NewBudget targets={targets} refused={refused} />}
    >
      <div class="stack">
        {budgets.length === 0 ? (
          <div class="panel">
            <Empty icon="usage" title="No budgets">
              A budget limits what the team, a user or an API key may use in a month or in total, in dollars or
              GPU-hours. At 50, 80 and 100% the managers of the team get a notice. At the limit, running jobs save a
              checkpoint and wait; nothing is lost.
            </Empty>
          </div>
        ) : (
          <div class="budgets">
            {budgets.map((budget) => (
              <BudgetPanel budget={budget} names={props.names} manages={props.manages} refused={refused} />
            ))}
          </div>
        )}
      </div>
    </Layout>
  );
}
