/** `/team/audit`: who did what in the viewer's team, for its owners and administrators. */
import { Layout } from "../../layout.tsx";
import { AuditContent, type AuditProps, Downloads } from "../admin/audit.tsx";

export function TeamAuditPage(props: AuditProps) {
  return (
    <Layout
      title="Audit log"
      crumbs={[{ label: "Team", href: "/team" }]}
      actions={<Downloads path="/v1/organization/audit/export" />}
    >
      <div class="stack">
        <p class="small muted">
          Every change in your team, with sign-ins and refused requests. What the administrators of the installation do
          elsewhere is not in it.
        </p>
        <AuditContent {...props} />
      </div>
    </Layout>
  );
}
