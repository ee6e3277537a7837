/** The log of a job: newest lines, search, and older lines on request. log.js adds new lines. */
import type { VNode } from "preact";
import { formatExact } from "../../../src/lib/text/format.ts";
import type { LogReply } from "../../../src/training/metrics/model.ts";
import { usePage, withQuery } from "../../context.ts";
import { Icon } from "../../parts/icons.tsx";

interface JobLogProps {
  jobId: string;
  log: LogReply;
  search: string;
  /** More may come. */
  active: boolean;
}

/** The lines, which a search replaces. */
export function LogLines({ log, search, active }: JobLogProps): VNode {
  const { url } = usePage();
  return (
    <section id="log-lines" class="lines" tabindex={0} aria-label="Log lines">
      {log.hasMore && log.next ? (
        <p class="older">
          <a href={`${withQuery(url, { before: String(log.next) })}#log`}>Older lines</a>
        </p>
      ) : null}
      <ol>
        {log.lines.length === 0 ? (
          <li data-no-lines="">
            <span />
            <span />
            <span class="muted">
              {search ? `No line contains “${search}”.` : active ? "No lines yet." : "The log is empty."}
            </span>
          </li>
        ) : null}
        {log.lines.map((line) => (
          <li class={line.level}>
            <time dateTime={new Date(line.at).toISOString()} title={formatExact(line.at)}>
              {new Date(line.at).toISOString().slice(11, 19)}
            </time>
            <span class="level">{line.level}</span>
            <span>{line.message}</span>
          </li>
        ))}
      </ol>
    </section>
  );
}

export function JobLog(props: JobLogProps) {
  const { url } = usePage();
  const last = props.log.lines.at(-1)?.id;
  const before = url.searchParams.get("before");
  return (
    <section
      id="log"
      class="panel log"
      aria-labelledby="log-title"
      data-log={before ? undefined : ""}
      data-job={props.jobId}
      data-last={last === undefined ? undefined : String(last)}
    >
      <header>
        <h2 id="log-title">Log</h2>
        {before ? (
          <a class="button small" href={`${withQuery(url, { before: null })}#log`}>
            Newest lines
          </a>
        ) : null}
        <form
          class="log-search"
          action={`${url.pathname}#log`}
          method="get"
          hx-get={url.pathname}
          hx-target="#log-lines"
          hx-swap="outerHTML"
          hx-replace-url="true"
          hx-sync="this:replace"
          hx-trigger="submit, input changed delay:250ms"
        >
          <input
            type="search"
            name="log"
            value={props.search}
            placeholder="Search the log"
            aria-label="Search the log"
          />
        </form>
      </header>
      <LogLines {...props} />
      <button type="button" class="button small waiting-lines" data-log-waiting hidden>
        <Icon name="down" />
      </button>
    </section>
  );
}
