/** The history of a job, newest first: a few lines, and the rest collapsed. */
import type { VNode } from "preact";
import { plural } from "../../../src/lib/text/format.ts";
import type { HistoryLine } from "../../../src/training/metrics/model.ts";
import { Icon } from "../../parts/icons.tsx";
import { Time } from "../../parts/value.tsx";

/** Lines that are not collapsed. */
const FIRST = 6;

function Line({ at, level, message }: HistoryLine) {
  return (
    <li class={level}>
      <span class="grow">{message}</span>
      <span class="xs muted nowrap">
        <Time at={at} />
      </span>
    </li>
  );
}

export interface JobHistoryProps {
  history: HistoryLine[];
}

export function JobHistory({ history }: JobHistoryProps): VNode {
  const rest = history.slice(FIRST);
  return (
    <section id="job-history" class="panel" aria-labelledby="history-title">
      <header>
        <h2 id="history-title">History</h2>
      </header>
      {history.length === 0 ? <p class="body small muted">Nothing has happened yet.</p> : null}
      <ul class="history">
        {history.slice(0, FIRST).map((line) => (
          <Line {...line} />
        ))}
      </ul>
      {rest.length ? (
        <details class="more in-panel">
          <summary>
            <Icon name="right" />
            {plural(rest.length, "earlier line")}
          </summary>
          <ul class="history">
            {rest.map((line) => (
              <Line {...line} />
            ))}
          </ul>
        </details>
      ) : null}
    </section>
  );
}
