/** `/admin/beta`: every beta feature, its switch for the installation and for organizations, and who set it. */
import type { AdminBetaView } from "../../../src/accounts/beta/model.ts";
import { PostForm } from "../../parts/allowed.tsx";
import { ActionButton, Field } from "../../parts/form.tsx";
import { Empty } from "../../parts/notice.tsx";
import { Table } from "../../parts/table.tsx";
import { Time } from "../../parts/value.tsx";
import { AdminLayout } from "./frame.tsx";

type Switch = AdminBetaView["switches"][number];

const pathOf = (feature: AdminBetaView) => `/admin/beta/${feature.id}`;

function Switches({ feature }: { feature: AdminBetaView }) {
  if (feature.switches.length === 0)
    return <p class="body small muted">No switch was set: it is {feature.enabled ? "on" : "off"} for everybody.</p>;
  return (
    <Table
      still
      label={`Switches of ${feature.name}`}
      rows={feature.switches}
      rowId={(row: Switch) => `${feature.id}-${row.organization ?? "installation"}`}
      columns={[
        {
          key: "for",
          label: "For",
          name: true,
          render: (row) =>
            row.organization === null ? "The installation" : (row.organization_name ?? row.organization),
        },
        { key: "on", label: "State", tight: true, render: (row) => (row.enabled ? "on" : "off") },
        {
          key: "who",
          label: "Switched by",
          render: (row) => (
            <>
              <span dir="auto">{row.changed_by_email ?? row.changed_by}</span>
              <span class="sub">
                <Time at={row.changed_at * 1000} />
              </span>
            </>
          ),
        },
        {
          key: "remove",
          label: "Remove",
          hideLabel: true,
          act: true,
          render: (row) => (
            <ActionButton
              action={pathOf(feature)}
              class="small"
              fields={{ organization: row.organization ?? "", enabled: "" }}
              label={`Remove the switch for ${row.organization_name ?? "the installation"}`}
            >
              Remove
            </ActionButton>
          ),
        },
      ]}
    />
  );
}

function Feature(props: { feature: AdminBetaView; organizations: { id: string; name: string }[] }) {
  const { feature, organizations } = props;
  const field = `beta-${feature.id}`;
  return (
    <section class="panel" aria-label={feature.name}>
      <header>
        <h2>{feature.name}</h2>
        <span class="tag">{feature.enabled ? "on" : "off"}</span>
      </header>
      <p class="body small muted">
        {feature.description} Since version {feature.since}.
      </p>
      <Switches feature={feature} />
      <PostForm action={pathOf(feature)} class="body form">
        <div class="fields">
          <Field
            id={field}
            label="Switch it on or off for"
            render={(ids) => (
              <select name="organization" {...ids}>
                <option value="">The whole installation</option>
                {organizations.map(({ id, name }) => (
                  <option value={id}>{name}</option>
                ))}
              </select>
            )}
          />
        </div>
        <div class="row">
          <button type="submit" class="button" name="enabled" value="on">
            Switch on
          </button>
          <button type="submit" class="button" name="enabled" value="off">
            Switch off
          </button>
        </div>
      </PostForm>
    </section>
  );
}

export function BetaPage(props: { features: AdminBetaView[]; organizations: { id: string; name: string }[] }) {
  const { features, organizations } = props;
  return (
    <AdminLayout title="Beta features">
      <p class="small muted">
        Beta features work, but may still change. Pages label them; answers of the API name them in the header{" "}
        <code>x-beta-feature</code>. A team's switch overrides that of the installation. Switching one off refuses new
        use with 403; what exists stays readable.
      </p>
      {features.length === 0 ? (
        <div class="panel">
          <Empty slim icon="ok" title="No beta features">
            Everything in this version is stable.
          </Empty>
        </div>
      ) : (
        features.map((feature) => <Feature feature={feature} organizations={organizations} />)
      )}
    </AdminLayout>
  );
}
