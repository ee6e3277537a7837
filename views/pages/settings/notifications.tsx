/** `/settings/notifications`: what reaches the viewer where. */
import type { Topic } from "../../../src/notices/events/types.ts";
import type { Preferences } from "../../../src/notices/preferences/service.ts";
import { PostForm } from "../../parts/allowed.tsx";
import { Notice } from "../../parts/notice.tsx";
import { SettingsLayout } from "./frame.tsx";

interface NotificationsProps {
  preferences: Preferences;
  email: string;
  /** There is a mail server. */
  canMail: boolean;
  /** The topics that concern the viewer. */
  topics: readonly Topic[];
}

const ROWS: { topic: Topic; title: string; about: string }[] = [
  {
    topic: "jobs",
    title: "My jobs",
    about: "A run, evaluation or export of yours ended, or somebody else canceled it.",
  },
  { topic: "deployments", title: "My endpoints", about: "An endpoint that you deployed failed." },
  { topic: "datasets", title: "My datasets", about: "An import finished or failed, or a dataset cannot be used." },
  {
    topic: "announcements",
    title: "Announcements",
    about: "News and maintenance of this installation. Critical ones reach you always.",
  },
  {
    topic: "incidents",
    title: "Incidents",
    about: "An administrator posts that something here does not work, or works again.",
  },
  {
    topic: "reviews",
    title: "Cases to review",
    about: "Cases wait in the moderation queue. At most one notice an hour, with their number.",
  },
  {
    topic: "billing",
    title: "Costs",
    about: "Budgets, statements and invoices. New prices reach you always.",
  },
  {
    topic: "security",
    title: "Security of my account",
    about: "Sign-ins from new devices, changed passwords, new keys. These cannot be switched off.",
  },
];

const CHANNELS = [
  { name: "page", label: "In the page" },
  { name: "mail", label: "By e-mail" },
] as const;

function BrowserNotifications() {
  return (
    <section class="panel">
      <header>
        <h2>Browser notifications</h2>
      </header>
      <div class="body stack tight">
        <p class="small muted">
          While a tab of this site is open in the background, the browser shows what is new in the page.
        </p>
        <p class="small only-without-script">They need JavaScript.</p>
        <p data-permission="granted" hidden>
          They are on in this browser.
        </p>
        <p data-permission="denied" hidden>
          This browser blocks them for this site. Allow them in its site settings.
        </p>
        <p data-permission="unsupported" hidden>
          This browser does not have them here. They need HTTPS.
        </p>
        <button type="button" class="button" data-allow-notifications hidden>
          Allow notifications
        </button>
      </div>
    </section>
  );
}

export function NotificationsPage({ preferences, email, canMail, topics }: NotificationsProps) {
  return (
    <SettingsLayout title="Notifications">
      {canMail ? null : (
        <Notice kind="info" title="This installation has no mail server">
          Notices appear in the page only. An administrator can set a mail server; your choice below is kept.
        </Notice>
      )}
      <section class="panel">
        <header>
          <h2>What reaches you</h2>
        </header>
        <PostForm action="/settings/notifications">
          <div class="table-wrap">
            <table class="list still preferences" aria-label="What reaches you">
              <thead>
                <tr>
                  <th scope="col" class="name">
                    About
                  </th>
                  {CHANNELS.map(({ label }) => (
                    <th scope="col" class="tight">
                      {label}
                    </th>
                  ))}
                </tr>
              </thead>
              <tbody>
                {ROWS.filter(({ topic }) => topics.includes(topic)).map(({ topic, title, about }) => (
                  <tr>
                    <td class="name">
                      <strong>{title}</strong>
                      <span class="sub">{about}</span>
                    </td>
                    {CHANNELS.map(({ name, label }) => (
                      <td class="tight">
                        <input
                          type="checkbox"
                          name={`${topic}_${name}`}
                          value="on"
                          aria-label={`${title}, ${label.toLowerCase()}`}
                          checked={preferences[topic][name]}
                          disabled={topic === "security"}
                        />
                      </td>
                    ))}
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
          <div class="preferences-foot">
            <div class="row between">
              <span class="small muted wrap-any">Mail goes to {email}.</span>
              <button type="submit" class="button">
                Save
              </button>
            </div>
          </div>
        </PostForm>
      </section>
      <BrowserNotifications />
    </SettingsLayout>
  );
}
