/** `/announcements`: the current announcements for the viewer, with those whose banner is hidden. */
import type { AnnouncementView, Severity } from "../../../src/notices/announcements/model.ts";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { Markdown } from "../../parts/markdown.tsx";
import { Empty } from "../../parts/notice.tsx";
import { Time } from "../../parts/value.tsx";

export const SEVERITY_NAMES: Record<Severity, string> = {
  info: "Information",
  warning: "Warning",
  critical: "Critical",
};

function One({ announcement }: { announcement: AnnouncementView }) {
  const { title, text, severity, starts_at, ends_at, dismissed } = announcement;
  return (
    <section class="panel" aria-label={title}>
      <header>
        <h2 dir="auto">{title}</h2>
        <span class="tag">{SEVERITY_NAMES[severity]}</span>
      </header>
      <div class="body stack tight">
        {text ? <Markdown text={text} /> : null}
        <p class="small muted">
          Since <Time at={starts_at * 1000} />
          {ends_at === null ? null : (
            <>
              , ends <Time at={ends_at * 1000} />
            </>
          )}
          {dismissed ? " · you dismissed its banner" : null}
        </p>
      </div>
    </section>
  );
}

export function AnnouncementsPage({ announcements }: { announcements: AnnouncementView[] }) {
  const { viewer } = usePage();
  return (
    <Layout
      title="Announcements"
      actions={
        viewer?.may("GET", "/admin/announcements") ? (
          <a class="button" href="/admin/announcements">
            Manage
          </a>
        ) : null
      }
    >
      <div class="stack">
        {announcements.length === 0 ? (
          <div class="panel">
            <Empty icon="bell" title="No announcements">
              News and warnings from the administrators of this installation appear here and above every page.
            </Empty>
          </div>
        ) : (
          announcements.map((announcement) => <One announcement={announcement} />)
        )}
      </div>
    </Layout>
  );
}
