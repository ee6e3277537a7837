/** The frame of the administration pages: the list of pages at the left, the content beside it. */
import type { ComponentChildren } from "preact";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { Icon, type IconName } from "../../parts/icons.tsx";

const PAGES: { href: string; label: string; icon: IconName }[] = [
  { href: "/admin/users", label: "Users", icon: "user" },
  { href: "/admin/teams", label: "Teams", icon: "models" },
  { href: "/admin/sso", label: "Single sign-on", icon: "key" },
  { href: "/admin/providers", label: "Providers", icon: "hosts" },
  { href: "/admin/settings", label: "Settings", icon: "settings" },
  { href: "/admin/beta", label: "Beta features", icon: "compare" },
  { href: "/admin/billing", label: "Billing", icon: "usage" },
  { href: "/admin/mail", label: "Mail", icon: "chat" },
  { href: "/admin/payments", label: "Payments", icon: "key" },
  { href: "/admin/deliveries", label: "Deliveries", icon: "repeat" },
  { href: "/admin/announcements", label: "Announcements", icon: "bell" },
  { href: "/admin/maintenance", label: "Maintenance", icon: "clock" },
  { href: "/admin/prices", label: "Prices", icon: "usage" },
  { href: "/admin/terms", label: "Terms", icon: "scale" },
  { href: "/admin/incidents", label: "Incidents", icon: "warn" },
  { href: "/admin/moderation", label: "Moderation", icon: "scale" },
  { href: "/admin/backups", label: "Backups", icon: "save" },
  { href: "/admin/deletions", label: "Deletions", icon: "cancelled" },
  { href: "/admin/audit", label: "Audit log", icon: "shield" },
  { href: "/admin/status", label: "Status", icon: "info" },
];

/** A page of the administration. `parent` is the list that a page of one thing belongs to. */
export function AdminLayout(props: {
  title: string;
  parent?: { label: string; href: string };
  beside?: ComponentChildren;
  actions?: ComponentChildren;
  live?: { topics: string[] };
  children: ComponentChildren;
}) {
  const { pathname } = usePage().url;
  return (
    <Layout
      title={props.title}
      crumbs={[{ label: "Administration", href: "/admin" }, ...(props.parent ? [props.parent] : [])]}
      beside={props.beside}
      actions={props.actions}
      live={props.live}
    >
      <div class="with-subnav">
        <nav class="subnav" aria-label="Administration">
          {PAGES.map((page) => (
            <a
              href={page.href}
              aria-current={pathname === page.href || pathname.startsWith(`${page.href}/`) ? "page" : undefined}
            >
              <Icon name={page.icon} />
              {page.label}
            </a>
          ))}
        </nav>
        <div class="stack">{props.children}</div>
      </div>
    </Layout>
  );
}
