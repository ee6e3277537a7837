/** The page of one API key: what it may do, its restrictions, and its secrets. */
import type { KeyView } from "../../../src/accounts/api-keys/model.ts";
import type { BudgetView } from "../../../src/billing/budgets/model.ts";
import { SCOPES } from "../../../src/roles.ts";
import { PostForm } from "../../parts/allowed.tsx";
import { ConfirmForm, SheetForm, TextField } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";
import { CopyId, KeyValue, Time } from "../../parts/value.tsx";
import { BudgetBars } from "../usage/budgets.tsx";
import { SettingsLayout } from "./frame.tsx";
import { type RestrictionTexts, textsOf } from "./key-form.ts";
import { NewSecret, RestrictionInputs, RevokeKey } from "./keys.tsx";

export interface KeyProps {
  row: KeyView;
  /** Whether the viewer may give it a new secret. */
  own: boolean;
  baseUrl: string;
  /** What it may cost. */
  budgets: BudgetView[];
  /** The list that the key belongs to. */
  parent: { label: string; href: string };
  /** The new secret, shown only once. */
  rotated?: string;
  error?: string;
  /** As typed, when the change was refused. */
  typed?: RestrictionTexts & { name: string };
}

const at = (seconds: number | null) => (seconds === null ? null : seconds * 1000);

/** Overlaps in seconds that the form offers. */
const OVERLAPS: [string, string][] = [
  ["86400", "1 day"],
  ["3600", "1 hour"],
  ["604800", "7 days"],
  ["0", "none: the old secret ends at once"],
];

function Secrets({ row, own }: Pick<KeyProps, "row" | "own">) {
  const { previous_secret: previous } = row;
  return (
    <section class="panel" id="secret">
      <header>
        <h2>Secret</h2>
        {own ? (
          <SheetForm
            id="rotate"
            action={`/settings/keys/${row.id}/rotate`}
            label="Rotate"
            icon="repeat"
            buttonClass="button small"
            title={`Rotate “${row.name}”`}
            verb="Create the new secret"
          >
            <p class="muted small">
              The key gets a new secret and keeps its scopes, restrictions and expiry. The old secret works beside it
              for the time that you choose, never longer than the key.
            </p>
            <div class="field">
              <label for="overlap">The old secret works for</label>
              <select id="overlap" name="overlap">
                {OVERLAPS.map(([value, label]) => (
                  <option value={value}>{label}</option>
                ))}
              </select>
            </div>
          </SheetForm>
        ) : null}
      </header>
      <div class="body">
        <KeyValue
          rows={[
            ["In use", <span class="mono">{row.prefix}…</span>],
            row.rotated_at !== null && ["Rotated", <Time at={at(row.rotated_at)} />],
            previous && [
              "Old secret",
              <span class="row">
                <span class="mono">{previous.prefix}…</span>
                <span>
                  ends <Time at={at(previous.expires_at)} />
                </span>
                <ConfirmForm
                  id="end-overlap"
                  action={`/settings/keys/${row.id}/end-overlap`}
                  label="End it now"
                  buttonClass="button danger small"
                  title="End the old secret now?"
                  lost="Requests with the old secret are refused from now on. The new one keeps working."
                  verb="End the old secret"
                />
              </span>,
            ],
          ]}
        />
      </div>
    </section>
  );
}

export function KeyPage(props: KeyProps) {
  const { row, own, baseUrl, budgets, rotated, error, typed, parent } = props;
  return (
    <SettingsLayout
      title={row.name}
      parent={parent}
      actions={<RevokeKey id={row.id} name={row.name} buttonClass="button danger" />}
    >
      {rotated ? <NewSecret title={`New secret of “${row.name}”`} secret={rotated} baseUrl={baseUrl} /> : null}
      {error ? (
        <Notice kind="bad" alert>
          {error}
        </Notice>
      ) : null}
      <div class="columns">
        <section class="panel">
          <header>
            <h2>Key</h2>
          </header>
          <div class="body">
            <KeyValue
              rows={[
                [
                  "Owner",
                  <span class="wrap-any">{row.user.name ?? row.user.email}</span>,
                  row.user.service_account ? "a service account of the team" : undefined,
                ],
                ["Scopes", row.scopes.length === SCOPES.length ? "all" : row.scopes.join(", ")],
                ["Created", <Time at={at(row.created_at)} />],
                ["Last used", <Time at={at(row.last_used_at)} />],
                ["Expires", row.expires_at === null ? "Never" : <Time at={at(row.expires_at)} />],
                row.created_by_key !== null && [
                  "Created by key",
                  <CopyId id={row.created_by_key} full />,
                  "its restrictions hold too, and both are revoked together",
                ],
                ["ID", <CopyId id={row.id} full />],
              ]}
            />
          </div>
        </section>
        <Secrets row={row} own={own} />
      </div>
      <section class="panel" aria-labelledby="key-budget">
        <header>
          <h2 id="key-budget">Budget</h2>
          <a class="button small" href="/usage/budgets">
            Budgets
          </a>
        </header>
        <div class="body stack">
          {budgets.length === 0 ? (
            <p class="muted small">
              No limit of its own. With a budget, requests with this key are refused when it is used up, and jobs that
              it started save a checkpoint and wait.
            </p>
          ) : (
            budgets.map((budget) => <BudgetBars budget={budget} />)
          )}
        </div>
      </section>
      <section class="panel" id="restrictions">
        <header>
          <h2>Name and restrictions</h2>
        </header>
        <PostForm class="body form" action={`/settings/keys/${row.id}`}>
          <TextField name="name" label="Key name" required maxlength={200} value={typed?.name ?? row.name} />
          <RestrictionInputs id="key" values={typed ?? textsOf(row)} />
          <p class="small muted">Changes hold from the next request on. Scopes and expiry stay as they are.</p>
          <div class="row">
            <button type="submit" class="button">
              Save
            </button>
          </div>
        </PostForm>
      </section>
    </SettingsLayout>
  );
}
