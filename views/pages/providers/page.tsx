/** Providers of machines: whether each works, what runs there and costs, its limits, errors, and the stop switch. */
import type { ProviderState } from "../../../src/compute/limits/model.ts";
import { plural } from "../../../src/lib/text/format.ts";
import { Layout } from "../../layout.tsx";
import { PostForm, RoleLink } from "../../parts/allowed.tsx";
import { ActionButton, ConfirmForm, Field, TextField } from "../../parts/form.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { Table } from "../../parts/table.tsx";
import { Stat, Stats, Time } from "../../parts/value.tsx";
import { AccountFacts } from "./account.tsx";
import { formOf, type LimitsForm } from "./form.ts";

/** A form that was refused, as it was typed. */
export interface Refused {
  id: string;
  form: LimitsForm;
  problems: Record<string, string>;
}

const money = (usd: number) => `$${usd.toFixed(2)}`;
const MARKETS = { own: "own", on_demand: "on demand", spot: "spot" } as const;
const pathOf = (id: string, action: string) => `/admin/providers/${encodeURIComponent(id)}/${action}`;
const code = (vendor: string | null) => (vendor ? <code>{vendor}</code> : null);

function Machines({ of }: { of: ProviderState }) {
  if (of.machines.length === 0) return <p class="muted">Nothing runs here now.</p>;
  return (
    <Table
      label={`Machines at ${of.title}`}
      rows={of.machines}
      rowId={(one) => one.attempt}
      still
      columns={[
        { key: "job", label: "Job", render: (one) => <a href={`/jobs/${one.job}`}>{one.name}</a> },
        {
          key: "where",
          label: "Where",
          extra: true,
          render: (one) => (
            <span class="nowrap">{[one.region ?? one.location, one.zone].filter(Boolean).join(", ")}</span>
          ),
        },
        {
          key: "machine",
          label: "Machine",
          extra: true,
          render: (one) => (one.machine_type ? `${one.machine_type} (${MARKETS[one.market]})` : MARKETS[one.market]),
        },
        { key: "price", label: "Per hour", end: true, extra: true, render: (one) => money(one.price_per_hour) },
        { key: "since", label: "Since", extra: true, render: (one) => <Time at={one.since} /> },
        { key: "cost", label: "Cost so far", end: true, render: (one) => money(one.cost_usd) },
        { key: "state", label: "State", hideLabel: true, render: (one) => (one.ending ? "being terminated" : "") },
      ]}
    />
  );
}

const HUB_CHOICES = [
  ["", "Default"],
  ["yes", "Allowed"],
  ["no", "Never"],
] as const;

/** Whether machines of the provider may download base models from the hub, for providers with machines elsewhere. */
function HubChoice({ of, chosen }: { of: ProviderState; chosen: LimitsForm["models_from_hub"] }) {
  if (of.uses_hub === null) return null;
  return (
    <Field
      id={`hub-${of.id}`}
      label="Base models from the hub"
      hint={`Default: the setting models_from_hub. Now machines elsewhere ${of.uses_hub ? "may" : "may not"} use the hub. They check hashes and get no token`}
      render={(ids) => (
        <select name="models_from_hub" {...ids}>
          {HUB_CHOICES.map(([value, label]) => (
            <option value={value} selected={value === chosen}>
              {label}
            </option>
          ))}
        </select>
      )}
    />
  );
}

function Limits({ of, refused }: { of: ProviderState; refused: Refused | null }) {
  const form = refused?.form ?? formOf(of.limits);
  const problems = refused?.problems ?? {};
  const field = (name: Exclude<keyof LimitsForm, "models_from_hub">, label: string, hint: string) => (
    <TextField name={name} label={label} hint={hint} value={form[name]} error={problems[name]} />
  );
  return (
    <details class="body divided" open={refused !== null}>
      <summary>Limits</summary>
      <PostForm action={pathOf(of.id, "limits")} class="form">
        <div class="fields">
          {field(
            "month_usd",
            "US dollars per month",
            "Nothing starts, and trainings save and stop, once it is reached",
          )}
          {field("max_price_per_hour", "US dollars per hour and machine", "Dearer offers are out")}
          {field("max_machines", "Machines at once", "Empty = no limit; 0 = none")}
          {of.priced
            ? null
            : field(
                "cost_per_gpu_hour",
                "Cost of an own GPU-hour in US dollars",
                "What offers are compared with by the burst policy cheapest; empty = $0. Nobody is charged for it",
              )}
          {field("regions", "Regions", "The vendor's names, separated by commas; empty = all")}
          {field("machine_types", "Machine types", "The vendor's names, separated by commas; empty = all")}
          <HubChoice of={of} chosen={form.models_from_hub} />
        </div>
        <button type="submit" class="button">
          Save limits
        </button>
      </PostForm>
    </details>
  );
}

function Trouble({ of }: { of: ProviderState }) {
  return (
    <>
      {of.errors.length > 0 ? (
        <details class="body divided">
          <summary>Last errors ({of.errors.length})</summary>
          <ul>
            {of.errors.map((one) => (
              <li>
                <Time at={one.at} /> {one.request}, {one.kind.replaceAll("_", " ")}
                {one.times > 1 ? ` (${one.times} times)` : ""}: {one.message} {code(one.vendor_code)}
              </li>
            ))}
          </ul>
        </details>
      ) : null}
      {of.orphans.length > 0 ? (
        <details class="body divided" open={of.orphans.some((one) => one.removed_at === null)}>
          <summary>Orphans found and removed ({of.orphans.length})</summary>
          <ul>
            {of.orphans.map((one) => (
              <li>
                {one.resource.replaceAll("_", " ")} <code class="wrap-any">{one.key}</code>, found{" "}
                <Time at={one.found_at} />,{" "}
                {one.removed_at === null ? (
                  <strong>still there after {plural(one.tries, "request")}</strong>
                ) : (
                  <>
                    removed <Time at={one.removed_at} />
                  </>
                )}
                {one.error ? `: ${one.error}` : ""}
              </li>
            ))}
          </ul>
        </details>
      ) : null}
    </>
  );
}

function Provider({ of, refused }: { of: ProviderState; refused: Refused | null }) {
  const month = of.limits.month_usd;
  return (
    <section class="panel" id={`provider-${of.id}`}>
      <header>
        <h2>{of.title}</h2>
        <StateBadge state={of.health} />
        <ActionButton action={pathOf(of.id, "test")} class="small">
          Test
        </ActionButton>
        {of.health === "stopped" ? (
          <ActionButton action={pathOf(of.id, "resume")} class="small">
            Let work start again
          </ActionButton>
        ) : (
          <ConfirmForm
            id={`stop-${of.id}`}
            action={pathOf(of.id, "stop")}
            label="Stop everything here"
            buttonClass="button small danger"
            title={`Stop everything at ${of.title}?`}
            lost={`${plural(of.machines.length, "machine")} will stop: trainings save a checkpoint and return to the queue, endpoints stop answering. Nothing starts here until you let it.`}
            verb={`Stop everything at ${of.title}`}
          >
            <Field
              id={`stop-reason-${of.id}`}
              label="Reason (optional)"
              hint="People whose work it stops read it"
              render={(ids) => <input name="reason" maxlength={500} {...ids} />}
            />
          </ConfirmForm>
        )}
      </header>
      {of.limits.stopped_at === null ? null : (
        <Notice kind="warn" title={`${of.title} is stopped`}>
          Stopped <Time at={of.limits.stopped_at} />
          {of.limits.stop_reason ? `: ${of.limits.stop_reason}` : ""}
        </Notice>
      )}
      {of.pause ? (
        <Notice kind="warn" title={`${of.title} is not asked for machines now`}>
          {of.pause.message} {code(of.pause.vendor_code)} It is asked again <Time at={of.pause.until} />, or when a test
          passes.
        </Notice>
      ) : null}
      <div class="body stack">
        <Stats>
          <Stat label="Machines now">
            {of.machines.length}
            {of.limits.max_machines === null ? "" : ` of ${of.limits.max_machines}`}
          </Stat>
          {of.priced ? <Stat label="Cost today">{money(of.cost_today_usd)}</Stat> : null}
          {of.priced ? (
            <Stat label="Cost this month">
              {money(of.cost_month_usd)}
              {month === null ? "" : ` of ${money(month)}`}
            </Stat>
          ) : null}
          {of.account && of.account.balance_usd !== null ? (
            <Stat label="Balance" note={of.account.low ? "low" : undefined}>
              {money(of.account.balance_usd)}
            </Stat>
          ) : null}
        </Stats>
        {of.account ? <AccountFacts account={of.account} /> : null}
        <Machines of={of} />
      </div>
      <Limits of={of} refused={refused} />
      <Trouble of={of} />
    </section>
  );
}

export function ProvidersPage({ providers, refused }: { providers: ProviderState[]; refused: Refused | null }) {
  return (
    <Layout
      title="Providers"
      actions={
        <RoleLink class="button" href="/admin/providers">
          Settings
        </RoleLink>
      }
    >
      {providers.some((one) => one.priced) ? null : (
        <Empty
          icon="deploy"
          title="Jobs run on your own machines only"
          action={
            <RoleLink class="button" href="/admin/providers">
              Connect a provider
            </RoleLink>
          }
        >
          Connect a provider of rented GPUs, and jobs that find no free GPU here can start there, within the limits that
          you set: price per hour, US dollars per month, regions. Nothing is rented before you do.
        </Empty>
      )}
      <div class="stack">
        {providers.map((one) => (
          <Provider of={one} refused={refused?.id === one.id ? refused : null} />
        ))}
      </div>
    </Layout>
  );
}
