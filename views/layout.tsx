/** The frame of every page: navigation, title row with the primary action, connection status, messages, palette. */
import type { ComponentChildren } from "preact";
import { type PageInfo, usePage } from "./context.ts";
import { RoleLink } from "./parts/allowed.tsx";
import { Banners, TwoFactorDue } from "./parts/banners.tsx";
import { Icon, type IconName, Mark } from "./parts/icons.tsx";
import { Notice } from "./parts/notice.tsx";

interface Crumb {
  label: string;
  href: string;
}

interface NavItem {
  href: string;
  label: string;
  icon: IconName;
  /** The key after `g`. */
  key?: string;
  /** Shows the number of unread notices, which notify.js fills in. */
  unread?: boolean;
}

const MAIN: NavItem[] = [
  { href: "/", label: "Home", icon: "home", key: "h" },
  { href: "/datasets", label: "Datasets", icon: "data", key: "d" },
  { href: "/jobs", label: "Jobs", icon: "jobs", key: "j" },
  { href: "/models", label: "Models", icon: "models", key: "m" },
  { href: "/sweeps", label: "Sweeps", icon: "compare", key: "w" },
  { href: "/evaluations", label: "Evaluations", icon: "scale", key: "e" },
  { href: "/playground", label: "Playground", icon: "chat", key: "p" },
  { href: "/deployments", label: "Deployments", icon: "deploy", key: "s" },
];
const INSTALLATION: NavItem[] = [
  { href: "/notices", label: "Notices", icon: "bell", key: "n", unread: true },
  { href: "/queue", label: "Queue", icon: "clock", key: "q" },
  { href: "/hosts", label: "Hosts", icon: "hosts" },
  { href: "/providers", label: "Providers", icon: "deploy" },
  { href: "/usage", label: "Usage", icon: "usage", key: "u" },
  { href: "/billing", label: "Billing", icon: "save" },
  { href: "/team", label: "Team", icon: "user" },
  { href: "/settings", label: "Settings", icon: "settings" },
];
/** For reviewers; administrators open it from the page of moderation. */
const REVIEW: NavItem = { href: "/review", label: "Review", icon: "warn" };
const ADMIN: NavItem = { href: "/admin", label: "Administration", icon: "shield" };

/** htmx without eval, without injected styles, and with 4xx answers left to the page. */
const HTMX_CONFIG = JSON.stringify({
  includeIndicatorCSS: false,
  history: "reload",
  defaultSwap: "outerMorph",
  noSwap: [204, 304, "5xx"],
  // Elements that the user opened stay open while the page updates.
  morphIgnore: ["data-htmx-powered", "data-started", "open"],
});

/** The items that the viewer may open. Home shows what the other pages have. */
function allowed(page: PageInfo, items: NavItem[]): NavItem[] {
  return items.filter(({ href }) => page.viewer?.may("GET", href === "/" ? "/jobs" : href));
}

const lastItem = (page: PageInfo) => (page.viewer?.role === "reviewer" ? REVIEW : ADMIN);

function isCurrent(page: PageInfo, item: NavItem): boolean {
  const { pathname } = page.url;
  return item.href === "/" ? pathname === "/" : pathname === item.href || pathname.startsWith(`${item.href}/`);
}

function Item({ item, page }: { item: NavItem; page: PageInfo }) {
  return (
    <a class="item" href={item.href} aria-current={isCurrent(page, item) ? "page" : undefined} data-go={item.key}>
      <Icon name={item.icon} />
      {item.label}
      {item.unread ? <span class="unread" data-unread hidden /> : null}
    </a>
  );
}

function SignOut() {
  return (
    <form method="post" action="/logout">
      <button type="submit" class="item">
        <Icon name="leave" />
        Sign out
      </button>
    </form>
  );
}

const THEMES = ["system", "light", "dark"] as const;

/** Chooses the theme. */
function ThemeButtons({ page }: { page: PageInfo }) {
  const current = page.theme ?? "system";
  return (
    <form method="post" action="/theme" data-theme-form class="theme">
      <Icon name="theme" />
      <fieldset class="segments">
        <legend class="visually-hidden">Theme</legend>
        {THEMES.map((theme) => (
          <button type="submit" name="theme" value={theme} aria-pressed={theme === current ? "true" : "false"}>
            {theme[0]?.toUpperCase() + theme.slice(1)}
          </button>
        ))}
      </fieldset>
    </form>
  );
}

function Rail({ page }: { page: PageInfo }) {
  return (
    <nav class="rail" aria-label="Main">
      <a class="brand" href="/">
        <Mark />
        Fine-Tune Lab
      </a>
      <RoleLink class="item search" href="/search" data-palette>
        <Icon name="search" />
        Search
        <kbd>Ctrl K</kbd>
      </RoleLink>
      {allowed(page, MAIN).map((item) => (
        <Item item={item} page={page} />
      ))}
      <div class="group">Installation</div>
      {allowed(page, [...INSTALLATION, lastItem(page)]).map((item) => (
        <Item item={item} page={page} />
      ))}
      <div class="gap" />
      <ThemeButtons page={page} />
      <SignOut />
      <div class="group clip" title={page.viewer?.email}>
        {page.viewer?.email}
      </div>
    </nav>
  );
}

function Bar({ page }: { page: PageInfo }) {
  const items = allowed(page, [...MAIN, ...INSTALLATION, lastItem(page)]);
  const first = items.slice(0, 4);
  const rest = items.slice(4);
  return (
    <nav class="bar" aria-label="Main, small screen">
      {first.map((item) => (
        <a href={item.href} aria-current={isCurrent(page, item) ? "page" : undefined}>
          <Icon name={item.icon} />
          {item.label}
        </a>
      ))}
      <button
        type="button"
        popovertarget="more-menu"
        class={rest.some((item) => isCurrent(page, item)) ? "current" : undefined}
      >
        <Icon name="more" />
        More
        <span class="unread" data-unread hidden />
      </button>
      <div id="more-menu" class="menu" popover="auto">
        {rest.map((item) => (
          <Item item={item} page={page} />
        ))}
        <RoleLink class="item" href="/search">
          <Icon name="search" />
          Search
        </RoleLink>
        <ThemeButtons page={page} />
        <SignOut />
      </div>
    </nav>
  );
}

function Shortcuts() {
  const rows: [string, string][] = [
    ["Search everything", "Ctrl K"],
    ["Search this page", "/"],
    ["Create new", "n"],
    ...[...MAIN, ...INSTALLATION.filter(({ key }) => key)].map((item): [string, string] => [
      `Go to ${item.label}`,
      `g ${item.key}`,
    ]),
    ["Move between rows", "↑ ↓"],
    ["Close", "Esc"],
    ["Show shortcuts", "?"],
  ];
  return (
    <dialog id="shortcuts" class="shortcuts" aria-labelledby="shortcuts-title">
      <h2 id="shortcuts-title">Keyboard shortcuts</h2>
      <dl class="small">
        {rows.map(([what, keys]) => (
          <>
            <dt>{what}</dt>
            <dd>
              {keys.split(" ").map((key) => (
                <>
                  <kbd>{key}</kbd>{" "}
                </>
              ))}
            </dd>
          </>
        ))}
      </dl>
    </dialog>
  );
}

function Palette() {
  return (
    <dialog id="palette" class="palette" aria-label="Search">
      <search>
        <input
          type="search"
          name="q"
          id="palette-input"
          placeholder="Search pages, jobs, models, datasets"
          aria-label="Search pages, jobs, models, datasets"
          autocomplete="off"
          hx-get="/search"
          hx-trigger="input changed delay:120ms, palette-open"
          hx-target="#search-results"
          hx-swap="outerHTML"
          hx-sync="this:replace"
        />
        <div id="search-results" class="results" />
      </search>
    </dialog>
  );
}

function Head({ title, page }: { title: string; page: PageInfo }) {
  return (
    <head>
      <meta charset="utf-8" />
      <meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover" />
      <meta name="color-scheme" content="light dark" />
      <title>{title} · Fine-Tune Lab</title>
      <meta name="htmx-config" content={HTMX_CONFIG} />
      <link rel="icon" type="image/svg+xml" href={`${page.assets}icon.svg`} />
      <link rel="stylesheet" href={`${page.assets}app.css`} />
      <script src={`${page.assets}htmx.js`} defer />
      <script src={`${page.assets}app.js`} type="module" />
    </head>
  );
}

/** Links to the documents and the addresses of the installation; nothing without any. */
function Footer({ page }: { page: PageInfo }) {
  const { footer, contact, abuse } = page;
  const links = [
    ...footer,
    ...(contact ? [{ label: "Contact", href: contact.href }] : []),
    ...(abuse ? [{ label: "Report abuse", href: abuse.href }] : []),
  ];
  if (links.length === 0) return null;
  return (
    <footer class="site-footer">
      {links.map(({ label, href }) => (
        <a href={href}>{label}</a>
      ))}
    </footer>
  );
}

/** A page inside the frame. */
export function Layout(props: {
  title: string;
  /** The pages above this one. */
  crumbs?: Crumb[];
  /** Content beside the title, such as a state badge. */
  beside?: ComponentChildren;
  /** Who created what the page shows. */
  creator?: string | null;
  /** The primary action, with at most a few secondary ones before it. */
  actions?: ComponentChildren;
  /** What updates by itself on this page; see views/README.md. */
  live?: { jobs?: string[]; topics?: string[]; after?: number };
  /** No limit on the width of the content. */
  wide?: boolean;
  children: ComponentChildren;
}) {
  const page = usePage();
  const live = page.viewer?.may("GET", "/v1/stream") === false ? undefined : props.live;
  return (
    <html lang="en" data-theme={page.theme ?? undefined} data-now={String(page.now)}>
      <Head title={props.title} page={page} />
      <body
        data-stream-jobs={live?.jobs?.join(",") || undefined}
        data-stream-topics={live?.topics?.join(",") || undefined}
        data-stream-after={live?.after === undefined ? undefined : String(live.after)}
      >
        <a class="skip" href="#main">
          Skip to content
        </a>
        <div class="app">
          <Rail page={page} />
          <div class="column">
            <header class="top">
              <div class="heading">
                {props.crumbs?.length ? (
                  <nav aria-label="Breadcrumb">
                    <ol class="crumbs">
                      {props.crumbs.map((crumb) => (
                        <li>
                          <a href={crumb.href}>{crumb.label}</a>
                        </li>
                      ))}
                    </ol>
                  </nav>
                ) : null}
                <h1 title={props.title}>{props.title}</h1>
                {props.beside}
                {props.creator ? (
                  <span class="muted small clip creator">
                    Created by <span dir="auto">{props.creator}</span>
                  </span>
                ) : null}
              </div>
              {props.actions ? (
                <div class="actions">
                  {props.actions}
                  <button
                    type="button"
                    class="button icon-only more-actions"
                    data-more-actions
                    aria-expanded="false"
                    title="More actions"
                  >
                    <Icon name="more" />
                    <span class="visually-hidden">More actions</span>
                  </button>
                </div>
              ) : null}
            </header>
            <div id="connection" class="strip" role="status" hidden />
            <main id="main" tabindex={-1} class={props.wide ? "wide" : undefined}>
              <TwoFactorDue page={page} />
              <Banners page={page} />
              {props.children}
            </main>
            <Footer page={page} />
          </div>
        </div>
        <Bar page={page} />
        <div class="toasts" id="toasts" role="status">
          {page.flash ? <Notice kind={page.flash.kind}>{page.flash.text}</Notice> : null}
        </div>
        <Palette />
        <Shortcuts />
      </body>
    </html>
  );
}

/** A page without the frame, for visitors who are not signed in. */
export function BareLayout(props: {
  title: string;
  /** For text to read, rather than a form. */
  wide?: boolean;
  children: ComponentChildren;
}) {
  const { title, children } = props;
  const page = usePage();
  return (
    <html lang="en" data-theme={page.theme ?? undefined} data-now={String(page.now)}>
      <Head title={title} page={page} />
      <body>
        <div class={props.wide ? "bare wide" : "bare"}>
          <main id="main">
            <div class="brand">
              <Mark />
              Fine-Tune Lab
            </div>
            {children}
          </main>
          <Footer page={page} />
        </div>
      </body>
    </html>
  );
}
