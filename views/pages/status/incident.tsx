/** One incident with its updates, newest first. */
import type { ComponentChildren } from "preact";
import type { IncidentView } from "../../../src/insights/status/model.ts";
import { formatDuration } from "../../../src/lib/text/format.ts";
import { Markdown } from "../../parts/markdown.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { Time } from "../../parts/value.tsx";

/** `actions`: forms of administrators below it. */
export function IncidentEntry({ incident, actions }: { incident: IncidentView; actions?: ComponentChildren }) {
  const { id, title, status, impact, components, started_at, resolved_at, updates } = incident;
  return (
    <article class="body stack tight incident" id={id}>
      <div class="row between">
        <h3 dir="auto" class="wrap-any">
          {title}
        </h3>
        <StateBadge state={status} />
      </div>
      <p class="small muted">
        Began <Time at={started_at * 1000} />
        {resolved_at === null ? "" : `, resolved after ${formatDuration(resolved_at - started_at)}`}
        {impact === "none" ? " · information" : impact === "major" ? " · major impact" : " · minor impact"}
        {components.length > 0 ? ` · ${components.map(({ name }) => name).join(", ")}` : ""}
      </p>
      {updates.map((update) => (
        <div class="stack tight update">
          <p class="small">
            <strong>{update.status[0]?.toUpperCase() + update.status.slice(1)}</strong>{" "}
            <span class="muted">
              <Time at={update.created_at * 1000} />
            </span>
          </p>
          <Markdown text={update.text} />
        </div>
      ))}
      {actions}
    </article>
  );
}
