/** Settings of the signed-in user: API keys, account, password, browser sessions. */
import type { ComponentChildren } from "preact";
import type { KeyView } from "../../../src/accounts/api-keys/model.ts";
import type { SessionRow } from "../../../src/accounts/auth/session-list.ts";
import { deviceName } from "../../../src/lib/text/device.ts";
import { usePage } from "../../context.ts";
import { PostForm, RoleLink } from "../../parts/allowed.tsx";
import { ActionButton, TextField } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";
import { Table } from "../../parts/table.tsx";
import { CopyId, KeyValue, Time } from "../../parts/value.tsx";
import { SettingsLayout } from "./frame.tsx";
import { KeyTable, NewKeyForm, NewSecret, type TypedKey } from "./keys.tsx";

export interface SettingsProps {
  email: string;
  role: string;
  roleHint: string;
  org: { id: string; name: string };
  keys: KeyView[];
  sessions: SessionRow[];
  baseUrl: string;
  twoFactor: boolean;
  /** Fewest characters of a password, and longest life of a key in days (0 = no limit). */
  passwordMin: number;
  /** False for an account of single sign-on. */
  hasPassword: boolean;
  keyMaxDays: number;
  /** A key that was just created, with its secret; shown only once. */
  created?: { name: string; key: string };
  error?: { form: "key" | "password"; message: string };
  /** The key as typed, when it was refused. */
  typed?: TypedKey;
}

function Sessions({ sessions }: Pick<SettingsProps, "sessions">) {
  const others = sessions.filter((row) => !row.current).length;
  return (
    <section class="panel" id="sessions">
      <header>
        <h2>Browser sessions</h2>
        {others > 0 ? (
          <ActionButton action="/settings/sessions" class="small">
            Sign out all others
          </ActionButton>
        ) : null}
      </header>
      <Table
        still
        label="Browser sessions"
        rows={sessions}
        rowId={(row) => row.id}
        columns={[
          {
            key: "device",
            label: "Device",
            name: true,
            render: (row) => (
              <>
                <strong title={row.userAgent ?? undefined}>{deviceName(row.userAgent)}</strong>
                <span class="sub">{row.address ?? "unknown address"}</span>
              </>
            ),
          },
          { key: "made", label: "Signed in", wide: true, render: (row) => <Time at={row.createdAt} /> },
          { key: "used", label: "Last used", render: (row) => <Time at={row.lastUsedAt} /> },
          {
            key: "end",
            label: "Actions",
            hideLabel: true,
            act: true,
            render: (row) =>
              row.current ? (
                <span class="muted sans">This browser</span>
              ) : (
                <ActionButton action={`/settings/sessions/${row.id}`} class="small">
                  Sign out
                </ActionButton>
              ),
          },
        ]}
      />
    </section>
  );
}

function Password({
  passwordMin,
  hasPassword,
  problem,
}: Pick<SettingsProps, "passwordMin" | "hasPassword"> & { problem: ComponentChildren }) {
  return hasPassword ? (
    <section class="panel" id="password">
      <header>
        <h2>Password</h2>
      </header>
      <PostForm class="body form" action="/settings/password">
        {problem}
        <TextField name="current" label="Current password" type="password" required autocomplete="current-password" />
        <TextField
          name="password"
          label="New password"
          type="password"
          required
          minlength={passwordMin}
          maxlength={256}
          autocomplete="new-password"
          hint={`At least ${passwordMin} characters; a phrase is best. Your other sessions are ended.`}
        />
        <label class="check">
          <input type="checkbox" name="keys" value="yes" />
          <span>Also revoke all my API keys</span>
        </label>
        <div class="row">
          <button type="submit" class="button">
            Change the password
          </button>
        </div>
      </PostForm>
    </section>
  ) : (
    <section class="panel" id="password">
      <header>
        <h2>Password</h2>
      </header>
      <p class="body small muted">This account has no password: it signs in with single sign-on.</p>
    </section>
  );
}

export function SettingsPage(props: SettingsProps) {
  const { url } = usePage();
  const error = (form: "key" | "password") =>
    props.error?.form === form ? (
      <Notice kind="bad" alert>
        {props.error.message}
      </Notice>
    ) : null;
  return (
    <SettingsLayout title="Settings">
      {props.created ? (
        <NewSecret title={`Key “${props.created.name}” created`} secret={props.created.key} baseUrl={props.baseUrl} />
      ) : null}
      <div class="only-without-script">{error("key")}</div>
      <section class="panel" id="keys">
        <header>
          <h2>API keys</h2>
          <NewKeyForm
            action="/settings/keys"
            keyMaxDays={props.keyMaxDays}
            bound="your role"
            error={props.error?.form === "key" ? props.error.message : undefined}
            typed={props.typed}
          />
        </header>
        <KeyTable owner keys={props.keys} empty="With a key, any OpenAI client can do what you can do here." />
      </section>
      <div class="columns">
        <section class="panel">
          <header>
            <h2>Account</h2>
          </header>
          <div class="body">
            <KeyValue
              rows={[
                [
                  "E-mail",
                  <>
                    <span class="wrap-any">{props.email}</span> <a href="/settings/email">Change</a>
                  </>,
                ],
                ["Role", props.role, props.roleHint],
                ["Team", props.org.name],
                [
                  "Two-factor authentication",
                  <a href="/settings/two-factor">{props.twoFactor ? "On, manage" : "Off, set up"}</a>,
                ],
                ["Team ID", <CopyId id={props.org.id} full />, "the organization in the API"],
                ["Base URL for clients", <CopyId id={`${props.baseUrl || url.origin}/v1`} full />],
              ]}
            />
          </div>
        </section>
        <Password {...props} problem={error("password")} />
      </div>
      <Sessions sessions={props.sessions} />
      <p class="small">
        <RoleLink href="/settings/delete">Delete account…</RoleLink>
      </p>
    </SettingsLayout>
  );
}
