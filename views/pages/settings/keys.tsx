/** Parts of pages with API keys: the list, the form of a new one, the fields of its restrictions, and its secret. */
import type { KeyView } from "../../../src/accounts/api-keys/model.ts";
import { SCOPE_HINTS, SCOPES, type Scope } from "../../../src/roles.ts";
import { ConfirmForm, Field, SheetForm, TextField } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { RowName, Table } from "../../parts/table.tsx";
import { CopyId, Snippet, Time } from "../../parts/value.tsx";
import { NO_RESTRICTIONS, RESTRICTION_LABELS, type RestrictionTexts } from "./key-form.ts";

/** A secret that was just made; shown only once. */
export function NewSecret({ title, secret, baseUrl }: { title: string; secret: string; baseUrl: string }) {
  return (
    <Notice kind="ok" title={title} alert>
      <span>Copy it now. Only its hash is stored, and it is not shown again.</span>
      <CopyId id={secret} full />
      <Snippet
        label="How to use the key"
        text={`export OPENAI_BASE_URL=${baseUrl}/v1\nexport OPENAI_API_KEY=${secret}`}
      />
    </Notice>
  );
}

/** What a key is restricted to, in a few words; empty when it is not. */
function restrictedTo(key: KeyView): string {
  const { allowed_addresses: addresses, allowed_models: models } = key;
  return [
    addresses && `${addresses.length === 1 ? addresses[0] : `${addresses.length} addresses`}`,
    models && `${models.length === 1 ? models[0] : `${models.length} models`}`,
    key.requests_per_minute && `${key.requests_per_minute} requests/min`,
    key.tokens_per_minute && `${key.tokens_per_minute} tokens/min`,
  ]
    .filter(Boolean)
    .join(" · ");
}

export function RevokeKey({ id, name, buttonClass }: { id: string; name: string; buttonClass?: string }) {
  return (
    <ConfirmForm
      id={id}
      action={`/settings/keys/${id}/revoke`}
      label="Revoke"
      buttonClass={buttonClass ?? "button danger small"}
      title={`Revoke “${name}”?`}
      lost="Requests with this key are refused from now on. This cannot be undone."
      verb="Revoke the key"
    />
  );
}

/** @param owner whether the column of the owner is shown */
export function KeyTable({ keys, owner, empty }: { keys: KeyView[]; owner: boolean; empty: string }) {
  const nameOf = (id: string) => keys.find((key) => key.id === id)?.name ?? "another key";
  if (keys.length === 0)
    return (
      <Empty slim icon="shield" title="No API keys yet">
        {empty}
      </Empty>
    );
  const owners = {
    key: "user",
    label: "Owner",
    wide: true,
    render: (row: KeyView) => {
      const owner = row.user.name ?? row.user.email ?? row.user.id;
      return (
        <span class="clip words" title={owner} dir="auto">
          {owner}
        </span>
      );
    },
  };
  return (
    <Table
      still
      label="API keys"
      rows={keys}
      rowId={(row) => row.id}
      columns={[
        {
          key: "name",
          label: "Name",
          name: true,
          render: (row) => (
            <RowName
              href={`/settings/keys/${row.id}`}
              name={row.name}
              sub={
                <span class="num">
                  {row.prefix}…{row.previous_secret ? ` and ${row.previous_secret.prefix}…` : ""} ·{" "}
                  {row.scopes.length === SCOPES.length ? "all scopes" : row.scopes.join(", ")}
                  {restrictedTo(row) ? ` · ${restrictedTo(row)}` : ""}
                  {row.created_by_key ? ` · created by ${nameOf(row.created_by_key)}` : ""}
                </span>
              }
            />
          ),
        },
        ...(owner ? [owners] : []),
        {
          key: "used",
          label: "Last used",
          wide: true,
          render: (row) => <Time at={row.last_used_at ? row.last_used_at * 1000 : null} />,
        },
        {
          key: "expires",
          label: "Expires",
          wide: true,
          render: (row) => (row.expires_at ? <Time at={row.expires_at * 1000} /> : "Never"),
        },
        {
          key: "revoke",
          label: "Actions",
          hideLabel: true,
          act: true,
          render: (row) => <RevokeKey id={row.id} name={row.name} />,
        },
      ]}
    />
  );
}

const LINES = {
  allowed_addresses: {
    hint: "One address or network per line. Empty: any. The server checks the address that it sees; behind a proxy the administrator sets `trusted_proxies`.",
    placeholder: "203.0.113.7\n2001:db8::/32",
  },
  allowed_models: {
    hint: "One id of a model or name of a deployment per line. Empty: all of your team. The key lists and uses only these.",
    placeholder: "support bot",
  },
};
const NUMBERS = {
  requests_per_minute: "Empty: the limit of the installation. The smaller one holds.",
  tokens_per_minute: "Of prompts and answers together. Empty: no limit.",
};

/** The fields that restrict a key. */
export function RestrictionInputs({ values, id }: { values: RestrictionTexts; id: string }) {
  return (
    <>
      {(Object.keys(LINES) as (keyof typeof LINES)[]).map((name) => (
        <Field
          id={`${id}-${name}`}
          label={RESTRICTION_LABELS[name]}
          hint={LINES[name].hint}
          render={(ids) => (
            <textarea name={name} rows={2} placeholder={LINES[name].placeholder} {...ids}>
              {values[name]}
            </textarea>
          )}
        />
      ))}
      <div class="fields">
        {(Object.keys(NUMBERS) as (keyof typeof NUMBERS)[]).map((name) => (
          <Field
            id={`${id}-${name}`}
            label={RESTRICTION_LABELS[name]}
            hint={NUMBERS[name]}
            render={(ids) => <input name={name} inputmode="numeric" maxlength={20} value={values[name]} {...ids} />}
          />
        ))}
      </div>
    </>
  );
}

/** A key as typed, when it was refused. */
export interface TypedKey extends RestrictionTexts {
  name: string;
  days: string;
  scopes: readonly Scope[];
}

/** The button and form that create a key. */
export function NewKeyForm(props: {
  action: string;
  keyMaxDays: number;
  /** Whose role bounds the key: `your role`. */
  bound: string;
  error?: string;
  typed?: TypedKey;
}) {
  const { action, keyMaxDays, bound, error, typed } = props;
  const days = keyMaxDays > 0 ? Math.min(90, keyMaxDays) : 90;
  const restricted =
    typed !== undefined &&
    (Object.keys(NO_RESTRICTIONS) as (keyof RestrictionTexts)[]).some((name) => typed[name] !== "");
  return (
    <SheetForm
      id="key"
      action={action}
      label="Create key"
      icon="plus"
      title="Create an API key"
      verb="Create key"
      buttonClass="button small primary"
      error={error}
    >
      <TextField
        name="name"
        label="Key name"
        required
        maxlength={200}
        placeholder="CI pipeline"
        value={typed?.name ?? ""}
      />
      <TextField
        name="days"
        label="Days until it expires"
        inputmode="numeric"
        hint={keyMaxDays > 0 ? `At most ${keyMaxDays}` : "Empty: never expires"}
        required={keyMaxDays > 0}
        value={typed?.days ?? String(days)}
      />
      <fieldset class="field">
        <legend>Scopes</legend>
        {SCOPES.map((scope) => (
          <label class="check">
            <input
              type="checkbox"
              name={`scope_${scope}`}
              value="yes"
              checked={typed?.scopes.includes(scope) ?? true}
            />
            <span>
              {scope} <span class="muted small">{SCOPE_HINTS[scope]}</span>
            </span>
          </label>
        ))}
        <p class="hint">A key never does more than {bound}, and loses what that loses.</p>
      </fieldset>
      <details class="more" open={restricted}>
        <summary>
          <Icon name="right" />
          Restrictions: addresses, models, rates
        </summary>
        <RestrictionInputs id="new-key" values={typed ?? NO_RESTRICTIONS} />
      </details>
    </SheetForm>
  );
}
