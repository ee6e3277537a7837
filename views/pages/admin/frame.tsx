/** The frame of the administration pages: the pages in groups at the left, the content beside it. */
import type { ComponentChildren } from "preact";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { Icon, type IconName } from "../../parts/icons.tsx";

interface Entry {
  href: string;
  label: string;
  icon: IconName;
}

/** The pages under what people look for them by. */
const GROUPS: [title: string, pages: Entry[]][] = [
  [
    "People",
    [
      { href: "/admin/users", label: "Users", icon: "user" },
      { href: "/admin/teams", label: "Teams", icon: "models" },
      { href: "/admin/sso", label: "Single sign-on", icon: "key" },
      { href: "/admin/terms", label: "Terms", icon: "scale" },
      { href: "/admin/deletions", label: "Deletions", icon: "cancelled" },
    ],
  ],
  [
    "Money",
    [
      { href: "/admin/billing", label: "Billing", icon: "usage" },
      { href: "/admin/prices", label: "Prices", icon: "scale" },
      { href: "/admin/payments", label: "Payments", icon: "key" },
    ],
  ],
  [
    "Compute",
    [
      { href: "/admin/providers", label: "Providers", icon: "hosts" },
      { href: "/admin/maintenance", label: "Maintenance", icon: "clock" },
    ],
  ],
  [
    "Messages",
    [
      { href: "/admin/announcements", label: "Announcements", icon: "bell" },
      { href: "/admin/incidents", label: "Incidents", icon: "warn" },
      { href: "/admin/mail", label: "Mail", icon: "chat" },
      { href: "/admin/deliveries", label: "Deliveries", icon: "repeat" },
    ],
  ],
  [
    "Data and safety",
    [
      { href: "/admin/moderation", label: "Moderation", icon: "scale" },
      { href: "/admin/audit", label: "Audit log", icon: "shield" },
      { href: "/admin/backups", label: "Backups", icon: "save" },
    ],
  ],
  [
    "System",
    [
      { href: "/admin/settings", label: "Settings", icon: "settings" },
      { href: "/admin/beta", label: "Beta features", icon: "compare" },
      { href: "/admin/status", label: "Status", icon: "info" },
    ],
  ],
];

function Pages({ pages }: { pages: Entry[] }) {
  const { pathname } = usePage().url;
  return (
    <>
      {pages.map(({ href, label, icon }) => (
        <a href={href} aria-current={pathname === href || pathname.startsWith(`${href}/`) ? "page" : undefined}>
          <Icon name={icon} />
          {label}
        </a>
      ))}
    </>
  );
}

/** A page of the administration. `parent` is the list that a page of one thing belongs to. */
export function AdminLayout(props: {
  title: string;
  parent?: { label: string; href: string };
  beside?: ComponentChildren;
  actions?: ComponentChildren;
  live?: { topics: string[] };
  children: ComponentChildren;
}) {
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
          {GROUPS.map(([title, pages]) => (
            <section aria-label={title}>
              <div class="group" aria-hidden="true">
                {title}
              </div>
              <Pages pages={pages} />
            </section>
          ))}
        </nav>
        <div class="stack">{props.children}</div>
      </div>
    </Layout>
  );
}
