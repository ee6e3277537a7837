/** The frame of the settings: the list of pages at the left, the content beside it. */
import type { ComponentChildren } from "preact";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { RoleLink } from "../../parts/allowed.tsx";
import { Icon, type IconName } from "../../parts/icons.tsx";

const PAGES: { href: string; label: string; icon: IconName }[] = [
  { href: "/settings", label: "Account", icon: "user" },
  { href: "/settings/two-factor", label: "Two-factor", icon: "shield" },
  { href: "/settings/notifications", label: "Notifications", icon: "bell" },
  { href: "/settings/webhooks", label: "Webhooks", icon: "repeat" },
  { href: "/settings/data", label: "Your data", icon: "download" },
];

/** A page of the settings. `parent` is the list that a page of one thing belongs to. */
export function SettingsLayout(props: {
  title: string;
  parent?: { label: string; href: string };
  actions?: ComponentChildren;
  live?: { topics: string[] };
  children: ComponentChildren;
}) {
  const { pathname } = usePage().url;
  const isCurrent = (href: string) =>
    pathname === href ||
    (href === "/settings"
      ? /^\/settings\/(delete|email|keys|password)/.test(pathname)
      : pathname.startsWith(`${href}/`))
      ? "page"
      : undefined;
  return (
    <Layout
      title={props.title}
      crumbs={
        props.title === "Settings"
          ? []
          : [{ label: "Settings", href: "/settings" }, ...(props.parent ? [props.parent] : [])]
      }
      actions={props.actions}
      live={props.live}
    >
      <div class="with-subnav">
        <nav class="subnav" aria-label="Settings">
          {PAGES.map((page) => (
            <RoleLink href={page.href} aria-current={isCurrent(page.href)}>
              <Icon name={page.icon} />
              {page.label}
            </RoleLink>
          ))}
        </nav>
        <div class="stack loose">{props.children}</div>
      </div>
    </Layout>
  );
}
