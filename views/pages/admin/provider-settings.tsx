/** The settings of one bundled provider: its switch, and a field for each setting of its plugin. */
import type { AccountState } from "../../../src/compute/limits/model.ts";
import { type ProviderForm, problemText, type SettingProblem } from "../../../src/compute/limits/settings-model.ts";
import { PostForm, RoleLink } from "../../parts/allowed.tsx";
import { Field, TextField } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";
import { KeyValue } from "../../parts/value.tsx";
import { AccountFacts } from "../providers/account.tsx";
import { AdminLayout } from "./frame.tsx";
import { inputOf, isOpen, type SettingsBody, typedOf } from "./provider-form.ts";

export interface ProviderSettingsProps {
  of: ProviderForm;
  /** A form that was refused, as it was typed; secrets are not in it. */
  typed?: SettingsBody;
  problems?: SettingProblem[];
  /** What the vendor last said about the account; null before it was asked. */
  account?: AccountState | null;
}

type OneField = ProviderForm["fields"][number];

const SOURCES: Record<string, string> = {
  default: "set by default",
  file: "set in the configuration file",
  environment: "set by an environment variable",
  flag: "set on the command line",
  secret_file: "set in a file of its own",
};

const shown = ({ type, value, is_set }: OneField) => {
  if (!is_set) return <span class="muted">not set</span>;
  return type === "secret" ? <span class="muted">set, not shown</span> : <code class="wrap-any">{String(value)}</code>;
};

function Input({ of, typed, error }: { of: OneField; typed: SettingsBody | undefined; error: string | null }) {
  const name = inputOf(of);
  const value = typed ? (typed[name] ?? "") : typedOf(of);
  const label = of.required ? of.label : `${of.label} (optional)`;
  if (of.type === "boolean")
    return (
      <div class="field">
        <label class="check">
          <input type="checkbox" name={name} value="yes" checked={value === "yes"} />
          {of.label}
        </label>
        {error ? <div class="error">{error}</div> : null}
        <div class="hint">{of.help}</div>
      </div>
    );
  if (of.type === "secret")
    return (
      <TextField
        name={name}
        label={label}
        type="password"
        autocomplete="new-password"
        error={error}
        placeholder={of.is_set ? "Set; leave empty to keep it" : undefined}
        hint={of.help}
      />
    );
  if (of.type === "text")
    return (
      <Field
        id={`field-${name}`}
        label={label}
        hint={of.help}
        error={error}
        render={(ids) => (
          <textarea name={name} rows={4} {...ids}>
            {value}
          </textarea>
        )}
      />
    );
  const { options } = of;
  if (options && of.type === "string")
    return (
      <Field
        id={`field-${name}`}
        label={label}
        hint={of.help}
        error={error}
        render={(ids) => (
          <select name={name} {...ids}>
            {options.map((one) => (
              <option value={one} selected={one === value}>
                {one}
              </option>
            ))}
          </select>
        )}
      />
    );
  const hint = of.type === "list" ? `${of.help} Separated by commas.` : of.help;
  const numeric = of.type === "integer" ? ("numeric" as const) : undefined;
  return <TextField name={name} label={label} hint={hint} value={value} error={error} inputmode={numeric} />;
}

function Switch({ of, typed }: { of: ProviderForm; typed: SettingsBody | undefined }) {
  if (!isOpen(of.enabled_source))
    return (
      <p class="small">
        {of.enabled ? "In use" : "Not in use"}: the setting <code>providers</code> is{" "}
        {SOURCES[of.enabled_source] ?? of.enabled_source}, and is changed there.
      </p>
    );
  const on = typed ? typed.enabled === "yes" : of.enabled;
  return (
    <div class="field">
      <label class="check">
        <input type="checkbox" name="enabled" value="yes" checked={on} />
        Jobs may run at {of.title}
      </label>
      <div class="hint">
        It can be switched off when nothing runs there. Its limits of money are on the page{" "}
        <RoleLink href="/providers">Providers</RoleLink> as soon as it is on.
      </div>
    </div>
  );
}

export function ProviderSettingsPage({ of, typed, problems = [], account = null }: ProviderSettingsProps) {
  const open = of.fields.filter((field) => isOpen(field.source));
  const fixed = of.fields.filter((field) => !isOpen(field.source));
  const errorOf = (name: string) =>
    problems
      .filter(({ field }) => field === name)
      .map(problemText)
      .join(" ") || null;
  const others = problems.filter(({ field }) => !open.some(({ name }) => name === field));
  return (
    <AdminLayout
      title={`Settings of ${of.title}`}
      actions={
        <RoleLink class="button" href="/admin/providers">
          All providers
        </RoleLink>
      }
    >
      {problems.length > 0 ? (
        <Notice kind="bad" title="Nothing was changed" alert>
          {others.length > 0
            ? others.map((one) => (
                <p>
                  <code>{one.field}</code>: {problemText(one)}
                </p>
              ))
            : "See the marked fields, and enter secrets again."}
        </Notice>
      ) : null}
      {of.enabled && !of.loaded && problems.length === 0 ? (
        <Notice kind="warn" title={`${of.title} is switched on, but does not work`}>
          The page <RoleLink href="/admin/providers">Providers</RoleLink> says why. Correct the settings and save them.
        </Notice>
      ) : null}
      <section class="panel">
        <header>
          <h2>{of.title}</h2>
        </header>
        <PostForm class="body form" action={`/admin/providers/${encodeURIComponent(of.provider)}/settings`}>
          <Switch of={of} typed={typed} />
          {open.map((field) => (
            <Input of={field} typed={typed} error={errorOf(field.name)} />
          ))}
          <div class="row">
            <button type="submit" class="button primary">
              Save
            </button>
          </div>
          <p class="muted small">
            The settings are checked and used at once; running work continues. Secrets are stored encrypted and never
            shown.
          </p>
        </PostForm>
        {account ? (
          <div class="body divided">
            <h3>Account</h3>
            <AccountFacts account={account} balance />
          </div>
        ) : null}
        {fixed.length > 0 ? (
          <div class="body divided">
            <h3>Set elsewhere</h3>
            <KeyValue
              rows={fixed.map((field) => [
                field.label,
                <>
                  {shown(field)} <span class="muted">({SOURCES[field.source ?? ""] ?? field.source})</span>
                </>,
                field.help,
              ])}
            />
          </div>
        ) : null}
      </section>
    </AdminLayout>
  );
}
