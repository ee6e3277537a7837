/** Webhooks of the organization: the list, and the page of one with its deliveries. */

import type { Listed } from "../../../src/lib/page.ts";
import type { DeliveryView, EndpointView } from "../../../src/notices/webhooks/model.ts";
import { usePage } from "../../context.ts";
import { PostForm } from "../../parts/allowed.tsx";
import { ActionButton, ConfirmForm, Field, SheetForm, TextField } from "../../parts/form.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { StateBadge, stateWord } from "../../parts/state.tsx";
import { liveOn, Pager, RowName, Table } from "../../parts/table.tsx";
import { CopyId, KeyValue, Time } from "../../parts/value.tsx";
import { SettingsLayout } from "./frame.tsx";
import { EventFields, WebhookFields, type WebhookForm } from "./webhook-form.tsx";

const FORMATS = { openai: "Signed events", slack: "Chat message" } as const;

export interface WebhooksProps {
  endpoints: EndpointView[];
  /** Event types that the viewer may choose. */
  types: readonly string[];
  form: WebhookForm;
  error?: string;
}

export function WebhooksPage({ endpoints, types, form, error }: WebhooksProps) {
  const add = (
    <SheetForm
      id="webhook"
      action="/settings/webhooks"
      label="New webhook"
      icon="plus"
      title="New webhook"
      verb="Create webhook"
      error={error}
    >
      <WebhookFields form={form} types={types} />
    </SheetForm>
  );
  return (
    <SettingsLayout title="Webhooks" actions={add}>
      {error ? (
        <div class="only-without-script">
          <Notice kind="bad" alert>
            {error}
          </Notice>
        </div>
      ) : null}
      <section class="panel" aria-label="Webhooks">
        {endpoints.length === 0 ? (
          <Empty slim icon="repeat" title="No webhooks yet">
            This server sends a request to an address of yours when a run ends, an endpoint fails or a dataset is ready.
            OpenAI's clients read it with <code>client.webhooks.unwrap()</code>.
          </Empty>
        ) : (
          <Table
            label="Webhooks"
            rows={endpoints}
            rowId={(row) => row.id}
            columns={[
              {
                key: "name",
                label: "Name",
                name: true,
                render: (row) => <RowName href={`/settings/webhooks/${row.id}`} name={row.name} sub={row.url} />,
              },
              { key: "format", label: "Format", wide: true, render: (row) => FORMATS[row.format] },
              { key: "events", label: "Events", end: true, render: (row) => row.event_types.length },
              { key: "at", label: "Created", wide: true, render: (row) => <Time at={row.created_at * 1000} /> },
            ]}
          />
        )}
      </section>
    </SettingsLayout>
  );
}

/** A secret that was just made; shown only once. */
function NewSecret({ secret }: { secret: string }) {
  return (
    <Notice kind="ok" title="Signing secret" alert>
      <span>
        Copy it now; it is not shown again. Give it to OpenAI's client as <code>OPENAI_WEBHOOK_SECRET</code>.
      </span>
      <CopyId id={secret} full />
    </Notice>
  );
}

/** Deliveries with their state, and a button for those that have ended. `action` is the address of the button. */
export function DeliveryTable(props: { rows: DeliveryView[]; action: (row: DeliveryView) => string; where?: boolean }) {
  return (
    <Table
      still
      label="Deliveries"
      rows={props.rows}
      rowId={(row) => row.id}
      columns={[
        {
          key: "what",
          label: "Message",
          name: true,
          render: (row) => (
            <>
              <strong dir="auto">{row.summary}</strong>
              <span class="sub wrap-any">
                <span class="narrow">{stateWord(`delivery_${row.status}`)} · </span>
                {props.where ? `To ${row.destination}` : row.event_type}
                {row.last_error ? ` · ${row.last_error}` : ""}
              </span>
            </>
          ),
        },
        {
          key: "state",
          label: "State",
          wide: true,
          render: (row) => (
            <StateBadge
              state={`delivery_${row.status}`}
              note={row.status === "waiting" && row.attempts > 0 ? `attempt ${row.attempts + 1}` : null}
            />
          ),
        },
        {
          key: "next",
          label: "Sent or next",
          wide: true,
          render: (row) => <Time at={(row.ended_at ?? row.next_attempt_at ?? row.created_at) * 1000} />,
        },
        {
          key: "again",
          label: "Actions",
          hideLabel: true,
          act: true,
          render: (row) =>
            row.status === "waiting" ? null : (
              <ActionButton action={props.action(row)} class="small">
                Send again
              </ActionButton>
            ),
        },
      ]}
    />
  );
}

export interface WebhookProps {
  endpoint: EndpointView;
  deliveries: Listed<DeliveryView>;
  types: readonly string[];
  form: WebhookForm;
  secret?: string;
  error?: string;
}

export function Deliveries({ endpoint, deliveries }: Pick<WebhookProps, "endpoint" | "deliveries">) {
  const { url } = usePage();
  const path = `/settings/webhooks/${endpoint.id}`;
  // The page is also the answer to a form of another address.
  const live = liveOn(new URL(path + url.search, url), "deliveries");
  return (
    <section class="panel" id="deliveries" {...live}>
      <header>
        <h2>Deliveries</h2>
      </header>
      {deliveries.items.length === 0 ? (
        <p class="body muted small">Nothing was sent yet.</p>
      ) : (
        <DeliveryTable rows={deliveries.items} action={(row) => `${path}/deliveries/${row.id}/resend`} />
      )}
      <Pager
        shown={deliveries.items.length}
        hasMore={deliveries.hasMore}
        last={deliveries.last}
        fragment="deliveries"
      />
    </section>
  );
}

function Tools({ endpoint }: Pick<WebhookProps, "endpoint">) {
  const path = `/settings/webhooks/${endpoint.id}`;
  return (
    <div class="row">
      <PostForm action={`${path}/test`} class="inline-form">
        <Field
          id="field-event"
          label="Sample event"
          render={(ids) => (
            <select name="event" {...ids}>
              {endpoint.event_types.map((type) => (
                <option value={type}>{type}</option>
              ))}
            </select>
          )}
        />
        <button type="submit" class="button">
          Send a test
        </button>
      </PostForm>
    </div>
  );
}

export function WebhookPage(props: WebhookProps) {
  const { endpoint, form, types, error, secret } = props;
  const path = `/settings/webhooks/${endpoint.id}`;
  const actions = (
    <>
      <SheetForm
        id="rotate"
        action={`${path}/rotate`}
        label="Rotate secret"
        buttonClass="button"
        title="Rotate the signing secret?"
        verb="Rotate secret"
      >
        <p class="muted small">The next requests are signed with a new secret.</p>
        <label class="check">
          <input type="checkbox" name="keep" value="yes" checked />
          The old secret signs as well for 24 hours
        </label>
      </SheetForm>
      <ConfirmForm
        id="delete"
        action={`${path}/delete`}
        label="Delete"
        buttonClass="button danger"
        title={`Delete “${endpoint.name}”?`}
        lost="Nothing is sent to it any more, and its deliveries are deleted."
        verb="Delete the webhook"
      />
    </>
  );
  return (
    <SettingsLayout
      title={endpoint.name}
      parent={{ label: "Webhooks", href: "/settings/webhooks" }}
      actions={actions}
      live={{ topics: ["deliveries"] }}
    >
      {secret ? <NewSecret secret={secret} /> : null}
      <section class="panel">
        <header>
          <h2>Endpoint</h2>
        </header>
        <div class="body stack tight">
          <KeyValue
            rows={[
              ["URL", <span class="wrap-any">{endpoint.url}</span>],
              ["Format", FORMATS[endpoint.format]],
              endpoint.format === "openai" && ["Signing secret", <code>{endpoint.signing_secret_hint}</code>],
              ["ID", <CopyId id={endpoint.id} full />],
            ]}
          />
          <Tools endpoint={endpoint} />
        </div>
      </section>
      <Deliveries endpoint={endpoint} deliveries={props.deliveries} />
      <section class="panel">
        <header>
          <h2>Change</h2>
        </header>
        <PostForm class="body form" action={path}>
          {error ? (
            <Notice kind="bad" alert>
              {error}
            </Notice>
          ) : null}
          <TextField name="name" label="Name" required maxlength={100} value={form.name} />
          <TextField name="url" label="New URL" type="url" maxlength={2000} value={form.url} hint="Empty: as it is" />
          <EventFields types={types} chosen={form.events} />
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
