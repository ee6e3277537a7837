/** `/notices`: what happened to things of the viewer, newest first; new ones are marked. */
import type { Listed } from "../../../src/lib/page.ts";
import type { NoticeView } from "../../../src/notices/inbox/service.ts";
import { Layout } from "../../layout.tsx";
import { ActionButton } from "../../parts/form.tsx";
import { Icon, type IconName } from "../../parts/icons.tsx";
import { Empty } from "../../parts/notice.tsx";
import { Pager } from "../../parts/table.tsx";
import { Time } from "../../parts/value.tsx";

interface NoticesProps {
  notices: Listed<NoticeView>;
}

/** The icon of a type, which repeats what its title says. */
function iconOf(type: string): IconName {
  if (type.startsWith("security.")) return "shield";
  if (type.endsWith("failed")) return "failed";
  if (type.endsWith("cancelled")) return "cancelled";
  return "ok";
}

const toneOf = (type: string) =>
  type.endsWith("failed") ? "bad" : type.startsWith("security.") ? "warn" : type.endsWith("cancelled") ? "idle" : "ok";

function Item({ notice }: { notice: NoticeView }) {
  const isNew = notice.read_at === null;
  return (
    <li class={isNew ? "notice-item new" : "notice-item"} id={`row-${notice.id}`}>
      <span class={`notice-icon ${toneOf(notice.type)}`}>
        <Icon name={iconOf(notice.type)} />
      </span>
      <div class="notice-text">
        <a href={notice.path} dir="auto">
          {notice.title}
        </a>
        {isNew ? <span class="visually-hidden">New.</span> : null}
        {notice.body.split("\n").map((line) => (line ? <p dir="auto">{line}</p> : null))}
      </div>
      <span class="muted small nowrap">
        <Time at={notice.created_at * 1000} />
      </span>
    </li>
  );
}

export function NoticeList({ notices }: NoticesProps) {
  return (
    <section class="panel" id="notices" aria-label="Notices">
      {notices.items.length === 0 ? (
        <Empty icon="bell" title="No notices">
          When a run of yours ends, an endpoint fails or an import finishes, it appears here.
        </Empty>
      ) : (
        <ul class="notice-list">
          {notices.items.map((notice) => (
            <Item notice={notice} />
          ))}
        </ul>
      )}
      <Pager shown={notices.items.length} hasMore={notices.hasMore} last={notices.last} fragment="notices" />
    </section>
  );
}

export function NoticesPage(props: NoticesProps) {
  const someNew = props.notices.items.some(({ read_at }) => read_at === null);
  return (
    <Layout
      title="Notices"
      actions={
        <>
          <a class="button" href="/settings/notifications">
            <Icon name="settings" />
            Choose notifications
          </a>
          {someNew ? (
            <ActionButton action="/notices/read" class="primary">
              Mark all as read
            </ActionButton>
          ) : null}
        </>
      }
    >
      <NoticeList {...props} />
    </Layout>
  );
}
