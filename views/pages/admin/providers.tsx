/** GPU providers: whether each works, its settings, a test of the connection, and plugins that were not loaded. */
import type {
  AccountView,
  ProviderSettings,
  ProviderTest,
  ProviderView,
} from "../../../src/compute/providers/model.ts";
import type { PluginProblem } from "../../../src/compute/providers/plugins.ts";
import { plural } from "../../../src/lib/text/format.ts";
import { RoleLink } from "../../parts/allowed.tsx";
import { ActionButton } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { KeyValue } from "../../parts/value.tsx";
import { AdminLayout } from "./frame.tsx";

interface ProvidersProps {
  providers: (ProviderView & ProviderSettings & { hosts: number; unreachable: number })[];
  problems: PluginProblem[];
  /** Ids of the bundled providers whose settings can be made in the page, whether in use or not. */
  forms: readonly string[];
  /** The result of a test that was just made. */
  test?: ProviderTest;
}

const CAPABILITIES: Record<string, string> = {
  logs: "logs",
  gpus: "GPUs",
  survivesServer: "work survives a restart of the server",
  local: "this machine",
};
const KINDS = { container: "Containers", machine: "Rented machines", process: "Processes on this machine" } as const;

/** Titles of bundled providers: one that is not in use is not loaded. */
const NAMES: Record<string, string> = { docker: "Docker", runpod: "RunPod", lambda: "Lambda", aws: "AWS" };
const OUTCOMES = { passed: "Passed", failed: "Failed", unknown: "Not known" } as const;

/** What the vendor says about the account: permissions one by one, balance, quotas and regions. */
function Account({ of }: { of: AccountView }) {
  return (
    <ul>
      {of.checks.map((check) => (
        <li>
          <strong>{OUTCOMES[check.outcome]}</strong>: {check.name}. {check.message}
        </li>
      ))}
      {of.balance_usd === null ? null : <li>Balance: ${of.balance_usd.toFixed(2)}</li>}
      {of.quotas.map(({ name, region, limit, used }) => (
        <li>
          Quota {name}
          {region ? ` in ${region}` : ""}: {used ?? "?"} of {limit ?? "?"} used
        </li>
      ))}
      {of.regions.length > 0 ? <li>Regions: {of.regions.join(", ")}</li> : null}
    </ul>
  );
}

const HOME = { passed: "Passed", failed: "Failed", unknown: "Not checked" } as const;
const Home = ({ of }: { of: ProviderTest["home"] }) =>
  of ? (
    <p>
      <strong>{HOME[of.outcome]}</strong>: address of this server. {of.message}
    </p>
  ) : null;

const settingsOf = (id: string) => `/admin/providers/${encodeURIComponent(id)}`;

function TestResult({ test }: { test: ProviderTest }) {
  if (test.ok)
    return (
      <Notice kind="ok" title={`${test.provider} works`} alert>
        Settings and connection were checked in {test.took_ms} ms.
        <Home of={test.home} />
        {test.account ? <Account of={test.account} /> : null}
      </Notice>
    );
  return (
    <Notice kind="bad" title={`${test.provider} does not work`} alert>
      <ul>
        {test.problems.map((problem) => (
          <li>
            {problem.field}: {problem.message}. {problem.remedy}
          </li>
        ))}
      </ul>
      {test.home?.outcome === "failed" ? null : <Home of={test.home} />}
      {test.account ? <Account of={test.account} /> : null}
    </Notice>
  );
}

function Provider({ of, hasForm }: { of: ProvidersProps["providers"][number]; hasForm: boolean }) {
  const can = Object.entries(of.capabilities).flatMap(([name, on]) => (on ? [CAPABILITIES[name] ?? name] : []));
  return (
    <section class="panel">
      <header>
        <h2>{of.title}</h2>
        <StateBadge state={of.unreachable > 0 ? "silent" : "active"} />
        <ActionButton action={`/admin/providers/${encodeURIComponent(of.id)}/test`} class="small">
          Test connection
        </ActionButton>
        {hasForm ? (
          <RoleLink class="button small" href={settingsOf(of.id)}>
            Settings
          </RoleLink>
        ) : null}
      </header>
      <div class="body">
        <KeyValue
          rows={[
            ["ID", <code>{of.id}</code>],
            ["Runs", `${KINDS[of.kind]}; ${of.bundled ? "bundled" : "plugin of the data directory"}`],
            ["Capabilities", can.join(", ") || "none"],
            [
              "Hosts",
              <a href="/hosts">
                {plural(of.hosts, "host")}
                {of.unreachable > 0 ? `, ${of.unreachable} unreachable` : ""}
              </a>,
            ],
          ]}
        />
      </div>
      {of.fields.length > 0 ? (
        <div class="body divided">
          <h3>Settings</h3>
          <KeyValue
            rows={of.fields.map((field) => [
              field.label,
              field.value === null ? (
                <span class="muted">not set</span>
              ) : (
                <>
                  <code class="wrap-any">{field.value}</code>
                  {field.is_default ? <span class="muted"> (default)</span> : null}
                </>
              ),
              field.help,
            ])}
          />
        </div>
      ) : null}
    </section>
  );
}

/** Bundled providers that are not in use, each with the way to its settings. */
function Unused({ ids }: { ids: string[] }) {
  if (ids.length === 0) return null;
  return (
    <section class="panel">
      <header>
        <h2>Not in use</h2>
      </header>
      <ul class="body">
        {ids.map((id) => (
          <li>
            <RoleLink href={settingsOf(id)}>Set up {NAMES[id] ?? id}</RoleLink>
          </li>
        ))}
      </ul>
    </section>
  );
}

export function ProvidersPage({ providers, problems, forms, test }: ProvidersProps) {
  const unused = forms.filter((id) => !providers.some((one) => one.id === id));
  return (
    <AdminLayout
      title="Providers"
      actions={
        <RoleLink class="button" href="/hosts/add">
          Add a machine
        </RoleLink>
      }
    >
      {test ? <TestResult test={test} /> : null}
      {problems.map((problem) => (
        <Notice kind="warn" title={`${problem.plugin} is not loaded (${problem.stage})`}>
          {problem.message} {problem.remedy}{" "}
          {forms.includes(problem.plugin) ? <RoleLink href={settingsOf(problem.plugin)}>Settings</RoleLink> : null}
        </Notice>
      ))}
      {providers.map((one) => (
        <Provider of={one} hasForm={forms.includes(one.id)} />
      ))}
      <Unused ids={unused} />
      <section class="panel">
        <header>
          <h2>More providers</h2>
        </header>
        <div class="body stack tight small">
          <p>
            The settings <code>providers</code> and <code>provider_settings</code> of the configuration take precedence
            over what is set here. See the administrator guide, docs/admin-guide.md.
          </p>
          <p>
            Other providers are folders in <code>plugins/</code> of the data directory.{" "}
            <code>finetune-lab plugin new</code> starts one and <code>finetune-lab plugin check</code> tests it. The
            guide is docs/plugin-authors.md.
          </p>
        </div>
      </section>
    </AdminLayout>
  );
}
