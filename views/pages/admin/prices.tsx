/** Prices for administrators: every list with its state, one list, and the form of the next version. */
import type { ChangeView, PriceChanges, PriceListView } from "../../../src/billing/prices/model.ts";
import { PRICED } from "../../../src/billing/prices/model.ts";
import type { Listed } from "../../../src/lib/page.ts";
import { formatNumber } from "../../../src/lib/text/format.ts";
import { ConfirmForm, Field, TextField } from "../../parts/form.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { Pager, RowName, Table } from "../../parts/table.tsx";
import { matchText, PriceTable, priceText } from "../pricing/tables.tsx";
import { AdminLayout } from "./frame.tsx";
import { METER_LABELS, type PriceForm, type PriceRow, shownRows, unitOf } from "./price-form.ts";

const parent = { label: "Prices", href: "/admin/prices" };

interface Team {
  id: string;
  name: string;
}

const STATES: Record<PriceListView["state"], string> = {
  announced: "Announced",
  scheduled: "Scheduled",
  in_force: "In force",
  past: "Past",
  withdrawn: "Withdrawn",
};

const newHref = (team: Team | null) => `/admin/prices/new${team ? `?team=${encodeURIComponent(team.id)}` : ""}`;
const countText = ({ items, free }: PriceListView) =>
  [`${items.length} ${items.length === 1 ? "price" : "prices"}`, free.length ? `${free.length} free every month` : ""]
    .filter(Boolean)
    .join(", ");

function Withdraw({ list }: { list: PriceListView }) {
  if (list.state !== "announced" && list.state !== "scheduled") return null;
  return (
    <ConfirmForm
      id={list.id}
      action={`/admin/prices/${list.id}/withdraw`}
      label="Withdraw"
      buttonClass="button small"
      title={`Withdraw the prices for ${list.effective_date}?`}
      lost={`They do not take effect.${list.state === "announced" ? " Who was notified of them gets a notice." : ""}`}
      verb="Withdraw them"
    />
  );
}

function Lists({ team, lists }: { team: Team | null; lists: Listed<PriceListView> }) {
  const title = team ? `Prices of ${team.name}` : "Prices of the installation";
  return (
    <section class="panel" id="lists" aria-label={title}>
      <header>
        <h2>{title}</h2>
        <a class="button small" href={newHref(team)}>
          New prices
        </a>
      </header>
      {lists.items.length === 0 ? (
        <Empty slim icon="usage" title={team ? "No prices of its own" : "Nothing has a price"}>
          {team
            ? "This team has the prices of the installation."
            : "Use is measured and costs $0. The first prices that you set take effect 30 days later at the earliest, once others than administrators have an account."}
        </Empty>
      ) : (
        <>
          <Table
            still
            label={title}
            rows={lists.items}
            rowId={(row) => row.id}
            columns={[
              {
                key: "list",
                label: "From",
                name: true,
                render: (row) => (
                  <RowName
                    href={`/admin/prices/${row.id}`}
                    name={row.effective_date}
                    sub={[countText(row), row.note].filter(Boolean).join(" · ")}
                  />
                ),
              },
              { key: "state", label: "State", tight: true, render: (row) => STATES[row.state] },
              {
                key: "act",
                label: "Actions",
                hideLabel: true,
                tight: true,
                render: (row) => <Withdraw list={row} />,
              },
            ]}
          />
          <Pager shown={lists.items.length} hasMore={lists.hasMore} last={lists.last} />
        </>
      )}
    </section>
  );
}

/** `/admin/prices`; with `?team=` what differs for one team. */
export function PriceListsPage(props: {
  team: Team | null;
  lists: Listed<PriceListView>;
  teams: Team[];
  own: string[];
}) {
  const { team, lists, teams, own } = props;
  const withOwn = teams.filter(({ id }) => own.includes(id));
  return (
    <AdminLayout title={team ? team.name : "Prices"} parent={team ? parent : undefined}>
      <Lists team={team} lists={lists} />
      {team ? null : (
        <section class="panel" aria-label="Prices of individual teams">
          <header>
            <h2>Prices of individual teams</h2>
          </header>
          <div class="body stack">
            <p class="small muted">
              They override the prices of the installation for that team. Where they have no price, the price of the
              installation applies.
            </p>
            {withOwn.length > 0 ? (
              <ul>
                {withOwn.map(({ id, name }) => (
                  <li>
                    <a href={`/admin/prices?team=${encodeURIComponent(id)}`} dir="auto">
                      {name}
                    </a>
                  </li>
                ))}
              </ul>
            ) : null}
            <form class="form" method="get" action="/admin/prices/new">
              <Field
                id="field-team"
                label="Team"
                render={(ids) => (
                  <select name="team" {...ids}>
                    {teams.map(({ id, name }) => (
                      <option value={id}>{name}</option>
                    ))}
                  </select>
                )}
              />
              <div class="row">
                <button type="submit" class="button">
                  New prices for this team
                </button>
              </div>
            </form>
          </div>
        </section>
      )}
    </AdminLayout>
  );
}

/** `/admin/prices/:id` */
export function PriceListPage({ list, team }: { list: PriceListView; team: Team | null }) {
  return (
    <AdminLayout title={`Prices from ${list.effective_date}`} parent={parent}>
      <section class="panel" aria-label="Prices">
        <header>
          <h2>
            {team ? `${team.name}: ` : ""}
            {STATES[list.state].toLowerCase()}
          </h2>
          <Withdraw list={list} />
        </header>
        {list.note ? <div class="body small wrap-any">{list.note}</div> : null}
        <PriceTable list={list} />
      </section>
    </AdminLayout>
  );
}

const valueText = (change: ChangeView, which: "before" | "after") => {
  const [value, percent] = [change[which], change[`${which}_percent`]];
  return change.kind === "free" ? formatNumber(value ?? 0, 6) : priceText(value, percent);
};

function Differences({ changes }: { changes: PriceChanges }) {
  const { raise, earliest_date } = changes;
  return (
    <section class="panel" id="differences" aria-label="Differences">
      <header>
        <h2>Changes to the prices in force on that day</h2>
      </header>
      <div class="body small">
        {changes.changes.length === 0
          ? "Nothing costs more or less."
          : raise
            ? `This is a raise: it takes effect on ${earliest_date} at the earliest. When you save it, everybody it affects gets a notice and a mail and sees a banner.`
            : "Nobody has to be notified. The prices can take effect today."}
      </div>
      {changes.changes.length === 0 ? null : (
        <Table
          still
          label="Differences"
          rows={changes.changes.map((change, n) => ({ ...change, n }))}
          rowId={(row) => `change-${row.n}`}
          columns={[
            {
              key: "what",
              label: "What",
              name: true,
              render: (row) => (
                <>
                  <span dir="auto">{row.kind === "free" ? "Free every month" : matchText(row)}</span>
                  <span class="sub">{row.unit}</span>
                </>
              ),
            },
            { key: "before", label: "Before", tight: true, end: true, render: (row) => valueText(row, "before") },
            { key: "after", label: "After", tight: true, end: true, render: (row) => valueText(row, "after") },
            {
              key: "raise",
              label: "Raise",
              hideLabel: true,
              tight: true,
              render: (row) => (row.raise ? <span class="badge warn">Raise</span> : null),
            },
          ]}
        />
      )}
    </section>
  );
}

interface Choices {
  gpuModels: string[];
  providers: string[];
  models: string[];
}

function Choice(props: { name: string; label: string; any: string; values: readonly string[]; value: string }) {
  return (
    <Field
      id={`field-${props.name}`}
      label={props.label}
      render={(ids) => (
        <select name={props.name} {...ids}>
          <option value="">{props.any}</option>
          {props.values.map((value) => (
            <option value={value} selected={value === props.value}>
              {value}
            </option>
          ))}
        </select>
      )}
    />
  );
}

function Row({ row, n, choices }: { row: PriceRow; n: number; choices: Choices }) {
  return (
    <fieldset class="price-row">
      <legend class="visually-hidden">Price {n + 1}</legend>
      <Field
        id={`field-meter-${n}`}
        label={`Price ${n + 1} of`}
        render={(ids) => (
          <select name={`meter_${n}`} {...ids}>
            {PRICED.map((meter) => (
              <option value={meter} selected={meter === row.meter}>
                {METER_LABELS[meter]}, {unitOf(meter).endsWith(" tokens") ? "million" : unitOf(meter)}
              </option>
            ))}
          </select>
        )}
      />
      <TextField
        name={`gpu_model_${n}`}
        label="GPU model"
        list="price-gpus"
        placeholder="any"
        value={row.gpu_model}
        maxlength={200}
      />
      <Choice name={`provider_${n}`} label="Provider" any="any" values={choices.providers} value={row.provider} />
      <TextField
        name={`model_${n}`}
        label="Model"
        list="price-models"
        placeholder="any"
        value={row.model}
        maxlength={200}
      />
      <TextField name={`price_${n}`} label="USD" inputmode="decimal" value={row.price} maxlength={30} />
      <TextField name={`percent_${n}`} label="or cost + %" inputmode="numeric" value={row.percent} maxlength={10} />
    </fieldset>
  );
}

/** `/admin/prices/new`: the next version, from the one before. */
export function PricesFormPage(props: {
  team: Team | null;
  form: PriceForm;
  today: string;
  /** More empty rows. */
  more: number;
  choices: Choices;
  /** Null until they are compared. */
  changes: PriceChanges | null;
  error?: string;
}) {
  const { team, form, today, more, choices, changes, error } = props;
  const query = team ? `?team=${encodeURIComponent(team.id)}` : "";
  return (
    <AdminLayout title={team ? `New prices of ${team.name}` : "New prices"} parent={parent}>
      {error ? (
        <Notice kind="bad" alert>
          {error}
        </Notice>
      ) : null}
      {changes ? <Differences changes={changes} /> : null}
      <section class="panel">
        <form class="body form wide" method="post" action={`/admin/prices/new/compare${query}`}>
          <p class="small muted">
            The price that matches in the most details applies. Rows without a price are ignored. For GPUs, “cost + %”
            is what the provider charges plus a percentage. A GPU has the name that its host or provider reports.
            {team ? " Where a price is missing, the price of the installation applies." : ""}
          </p>
          <datalist id="price-gpus">
            {choices.gpuModels.map((model) => (
              <option value={model} />
            ))}
          </datalist>
          <datalist id="price-models">
            {choices.models.map((model) => (
              <option value={model} />
            ))}
          </datalist>
          <div class="stack">
            {shownRows(form, more).map((row, n) => (
              <Row row={row} n={n} choices={choices} />
            ))}
          </div>
          <div class="row">
            <button type="submit" class="button small" formaction={`/admin/prices/new/rows${query}`}>
              More rows
            </button>
          </div>
          <fieldset class="field">
            <legend>Free every month, for each team</legend>
            <div class="fields">
              {PRICED.map((meter) => (
                <TextField
                  name={`free_${meter}`}
                  label={METER_LABELS[meter]}
                  hint={unitOf(meter)}
                  inputmode="decimal"
                  value={form.free[meter]}
                  maxlength={30}
                />
              ))}
            </div>
          </fieldset>
          <TextField
            name="note"
            label="What changed"
            maxlength={500}
            value={form.note}
            hint="For the notice and the page; may be empty"
          />
          <div class="fields">
            <TextField
              name="date"
              label="Takes effect at 00:00 UTC of"
              type="date"
              value={form.date}
              hint={`Today is ${today}. Empty: Compare fills in the first day that is possible`}
            />
          </div>
          <div class="row">
            <button type="submit" class={changes ? "button" : "button primary"}>
              Compare
            </button>
            {changes ? (
              <button type="submit" class="button primary" formaction={`/admin/prices/new${query}`}>
                {changes.raise ? "Save and announce" : "Save"}
              </button>
            ) : null}
          </div>
        </form>
      </section>
    </AdminLayout>
  );
}
