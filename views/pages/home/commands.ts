/** What the command palette and the search find besides things: pages, and commands such as choosing a theme. */
import type { Hit } from "../../../src/insights/home/model.ts";
import type { PageInfo } from "../../context.ts";

interface CommandHit extends Hit {
  /** A command instead of a page: the button of a form to `href`. */
  button?: { name: string; value: string };
}

interface Command {
  label: string;
  href: string;
  /** Other words for it, in lower case. */
  words: string;
  icon?: Hit["icon"];
  button?: { name: string; value: string };
}

const COMMANDS: Command[] = [
  { label: "New job", href: "/jobs/new", icon: "plus", words: "train fine-tune start run create" },
  { label: "Home", href: "/", words: "start overview dashboard" },
  { label: "Datasets", href: "/datasets", words: "data upload files rows" },
  { label: "Jobs", href: "/jobs", words: "runs training" },
  { label: "Compare runs", href: "/jobs/compare", words: "overlay curves" },
  { label: "Models", href: "/models", words: "fine-tuned" },
  { label: "Base models", href: "/models?tab=base", words: "install license download hub" },
  { label: "Sweeps", href: "/sweeps", words: "hyperparameter search trials" },
  { label: "New sweep", href: "/sweeps/new", icon: "plus", words: "hyperparameter search trials" },
  { label: "Evaluations", href: "/evaluations", words: "before after score compare" },
  { label: "Playground", href: "/playground", words: "chat try prompt" },
  { label: "Deployments", href: "/deployments", words: "endpoint serve" },
  { label: "Queue", href: "/queue", words: "waiting timeline priority schedule" },
  { label: "Hosts", href: "/hosts", words: "machines gpu memory disk" },
  { label: "Add a machine", href: "/hosts/add", icon: "plus", words: "host gpu server ssh docker" },
  { label: "Usage", href: "/usage", words: "cost tokens budget limits quota" },
  { label: "Team", href: "/team", words: "members invite role people limits" },
  { label: "API keys", href: "/settings#keys", words: "api key create secret token" },
  { label: "Change password", href: "/settings#password", words: "account sign in" },
  { label: "Change e-mail address", href: "/settings/email", words: "account mail" },
  { label: "Browser sessions", href: "/settings#sessions", words: "sign out devices logout" },
  { label: "Notices", href: "/notices", words: "notifications bell inbox unread" },
  { label: "Notification settings", href: "/settings/notifications", words: "e-mail mail preferences browser" },
  { label: "Webhooks", href: "/settings/webhooks", words: "notifications slack events callback" },
  { label: "API reference", href: "/docs", words: "openapi curl python documentation" },
  { label: "Users", href: "/admin/users", words: "people invite role reset password disable members" },
  { label: "Teams", href: "/admin/teams", words: "organization quota members share" },
  { label: "Providers", href: "/admin/providers", words: "plugins docker cloud test" },
  { label: "Settings of the server", href: "/admin/settings", words: "configuration environment" },
  { label: "Mail server", href: "/admin/mail", words: "smtp e-mail test" },
  { label: "Deliveries", href: "/admin/deliveries", words: "webhooks mail failed resend outbox" },
  { label: "Backups", href: "/admin/backups", words: "restore save" },
  { label: "Audit log", href: "/admin/audit", words: "history who changed sign-ins export" },
  { label: "Status", href: "/admin/status", words: "doctor health version disk checks licenses" },
  { label: "Theme: dark", href: "/theme", words: "dark mode night", button: { name: "theme", value: "dark" } },
  { label: "Theme: light", href: "/theme", words: "light mode day", button: { name: "theme", value: "light" } },
  { label: "Theme: system", href: "/theme", words: "automatic", button: { name: "theme", value: "system" } },
];
const FEW = 4;
const MANY = 8;

/** Commands that have every word of `query` and that the viewer may use; a few of them when it is empty. */
export function findCommands(query: string, viewer: PageInfo["viewer"]): CommandHit[] {
  const wanted = query.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const matches = ({ label, words }: Command) =>
    wanted.every((word) => `${label} ${words}`.toLowerCase().includes(word));
  return COMMANDS.filter(
    (one) => viewer?.may(one.button ? "POST" : "GET", one.href.split(/[?#]/)[0] ?? "") && matches(one),
  )
    .slice(0, wanted.length > 0 ? MANY : FEW)
    .map(({ label, href, icon = "right", button }) => ({ label, href, icon, button }));
}
