/** Passkeys of one's own account: the list with rename and remove, and the page that adds one. */
import type { PasskeyView } from "../../../src/accounts/factors/passkey-model.ts";
import { RoleLink } from "../../parts/allowed.tsx";
import { ConfirmForm, SheetForm, TextField } from "../../parts/form.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { PasskeyForm } from "../../parts/passkey.tsx";
import { Table } from "../../parts/table.tsx";
import { Time } from "../../parts/value.tsx";
import { SettingsLayout } from "./frame.tsx";

export interface PasskeysProps {
  passkeys: PasskeyView[];
  /** Why passkeys cannot be used at this address. */
  unavailable: string | null;
}

const TRANSPORTS: Record<string, string> = {
  internal: "this device",
  hybrid: "phone nearby",
  usb: "USB",
  nfc: "NFC",
  ble: "Bluetooth",
  "smart-card": "smart card",
};

/** Where a passkey is kept, in words. */
function placeOf({ transports, synced }: PasskeyView): string {
  const ways = transports.map((each) => TRANSPORTS[each] ?? each).join(", ");
  return [ways, synced ? "synced between devices" : "not synced"].filter(Boolean).join(" · ");
}

function Passkeys({ passkeys }: Pick<PasskeysProps, "passkeys">) {
  return (
    <Table
      still
      label="Passkeys"
      rows={passkeys}
      rowId={(row) => row.id}
      columns={[
        {
          key: "name",
          label: "Name",
          name: true,
          render: (row) => (
            <>
              <strong dir="auto">{row.name}</strong>
              <span class="sub">{placeOf(row)}</span>
            </>
          ),
        },
        { key: "created", label: "Created", wide: true, render: (row) => <Time at={row.created_at * 1000} /> },
        {
          key: "used",
          label: "Last used",
          render: (row) => (row.last_used_at ? <Time at={row.last_used_at * 1000} /> : "Never"),
        },
        {
          key: "act",
          label: "Actions",
          hideLabel: true,
          act: true,
          render: (row) => (
            <span class="row end">
              <SheetForm
                id={`rename-${row.id}`}
                action={`/settings/two-factor/passkeys/${row.id}`}
                label="Rename"
                buttonClass="button small"
                title="Rename the passkey"
                verb="Rename"
              >
                <TextField name="name" label="Name" required maxlength={100} value={row.name} />
              </SheetForm>
              <ConfirmForm
                id={row.id}
                action={`/settings/two-factor/passkeys/${row.id}/remove`}
                label="Remove"
                buttonClass="button danger small"
                title={`Remove “${row.name}”?`}
                lost="It no longer signs you in. Your other sessions are ended. Delete it on the device too."
                verb="Remove the passkey"
              />
            </span>
          ),
        },
      ]}
    />
  );
}

export function PasskeysPanel({ passkeys, unavailable }: PasskeysProps) {
  return (
    <section class="panel" id="passkeys">
      <header>
        <h2>Passkeys</h2>
        {unavailable ? null : (
          <RoleLink class="button small primary" href="/settings/two-factor/passkeys/add">
            Add passkey
          </RoleLink>
        )}
      </header>
      {unavailable ? (
        <div class="body">
          <Notice kind="info" title="Passkeys do not work at this address">
            {unavailable}
          </Notice>
        </div>
      ) : null}
      {passkeys.length > 0 ? <Passkeys passkeys={passkeys} /> : null}
      {passkeys.length === 0 && !unavailable ? (
        <Empty slim icon="shield" title="No passkeys yet">
          A passkey signs you in with a fingerprint, a face or a PIN of your device, without a password. It also works
          as the second factor after the password.
        </Empty>
      ) : null}
    </section>
  );
}

export function AddPasskeyPage(props: { name: string; unavailable: string | null; error?: string }) {
  return (
    <SettingsLayout title="Add a passkey" parent={{ label: "Two-factor authentication", href: "/settings/two-factor" }}>
      <section class="panel narrow-column">
        <div class="body stack">
          {props.error ? (
            <Notice kind="bad" alert>
              {props.error}
            </Notice>
          ) : null}
          {props.unavailable ? (
            <Notice kind="info" title="Passkeys do not work at this address">
              {props.unavailable}
            </Notice>
          ) : (
            <>
              <p class="small muted">
                Your browser asks where to keep it: on this device, in a password manager, on a phone, or on a security
                key with a PIN. Your other sessions are ended.
              </p>
              <div data-no-passkey hidden>
                <Notice kind="info" title="This browser cannot create passkeys here">
                  Use a current version of Chrome, Edge, Firefox or Safari.
                </Notice>
              </div>
              <p class="only-without-script small">Adding a passkey needs JavaScript.</p>
              <PasskeyForm
                purpose="enroll"
                action="/settings/two-factor/passkeys"
                options="/settings/two-factor/passkeys/options"
                label="Create passkey"
                buttonClass="button primary"
              >
                <TextField
                  name="name"
                  label="Name"
                  required
                  maxlength={100}
                  value={props.name}
                  hint="How you recognize it, such as the device it is on."
                />
              </PasskeyForm>
            </>
          )}
        </div>
      </section>
    </SettingsLayout>
  );
}
