/** Provisioning on the page of an identity provider: the address and the token, which is shown once. */
import type { ConnectionRow } from "../../../src/accounts/scim/connection.ts";
import { ActionButton, ConfirmForm } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";
import { CopyId, KeyValue, Time } from "../../parts/value.tsx";

export interface ScimProps {
  /** Null before there is a token. */
  connection: ConnectionRow | null;
  /** The token that was just created. */
  token?: string;
}

function NewToken({ token }: { token: string }) {
  return (
    <Notice kind="ok" title="Token created" alert>
      <span>Copy it now. Only its hash is stored, and it is not shown again.</span>
      <CopyId id={token} full />
    </Notice>
  );
}

/** @param props.path address of the page of the provider */
export function ScimPanel(props: ScimProps & { path: string; name: string; base: string }) {
  const { connection, token, path, name, base } = props;
  return (
    <section class="panel" aria-label="Provisioning">
      <header>
        <h2>Provisioning (SCIM 2.0)</h2>
        {connection ? (
          <div class="row">
            <ConfirmForm
              id="scim-replace"
              action={`${path}/scim`}
              label="Replace the token"
              buttonClass="button small"
              title="Replace the token?"
              lost="The present token stops working at once. Nothing is provisioned until the provider has the new one."
              verb="Replace the token"
            />
            <ConfirmForm
              id="scim-remove"
              action={`${path}/scim/remove`}
              label="End provisioning"
              buttonClass="button small danger"
              title={`End provisioning by ${name}?`}
              lost="The token stops working, and its groups no longer count. Accounts stay as they are; deactivated ones stay deactivated until you lift it."
              verb="End provisioning"
            />
          </div>
        ) : (
          <ActionButton action={`${path}/scim`} class="small">
            Create a token
          </ActionButton>
        )}
      </header>
      <div class="body stack">
        {token ? <NewToken token={token} /> : null}
        <p class="muted small">
          {name} creates, changes and deactivates users by itself, and its groups decide team and role as in the list
          above. Users who are deactivated there lose every session and key here at once.
        </p>
        {connection ? (
          <KeyValue
            rows={[
              ["Address", <CopyId id={`${base}/scim/v2`} full />, "also named tenant URL or base URL"],
              [
                "Token",
                <>
                  ends with <code>{connection.tokenHint}</code>, created <Time at={connection.createdAt} />
                </>,
                "send it as a bearer token",
              ],
              ["Last used", connection.lastUsedAt === null ? "never" : <Time at={connection.lastUsedAt} />],
            ]}
          />
        ) : null}
      </div>
    </section>
  );
}
