/** The log of a deployment's engine: its newest lines, and what the process of one that ended wrote last. */
import { plural } from "../../../src/lib/text/format.ts";
import type { EngineLog } from "../../../src/serving/deployments/engine-log.ts";
import { usePage } from "../../context.ts";
import { Icon } from "../../parts/icons.tsx";
import { liveOn } from "../../parts/table.tsx";
import { LogLines } from "../jobs/log.tsx";

/** Nothing before the first start. */
export function EngineLogPanel({ engine }: { engine: EngineLog }) {
  const { url } = usePage();
  const live = liveOn(url, "deployments");
  if (!engine.jobId) return <section id="engine-log" hidden {...live} />;
  const { log, output, over } = engine;
  return (
    <section id="engine-log" class="panel log" aria-labelledby="engine-log-title" {...live}>
      <header>
        <h2 id="engine-log-title">{over ? "Log of the last engine" : "Engine log"}</h2>
        <a class="button small" href={`/jobs/${engine.jobId}#log`}>
          Whole log
        </a>
      </header>
      {output.length > 0 ? (
        <details class="more body" open={log.lines.length === 0}>
          <summary>
            <Icon name="right" />
            Last output of the process ({plural(output.length, "line")})
          </summary>
          <div class="side">
            <pre>{output.join("\n")}</pre>
          </div>
        </details>
      ) : null}
      {log.lines.length === 0 && output.length > 0 ? null : (
        <LogLines jobId={engine.jobId} log={{ ...log, hasMore: false }} search="" active={!over} />
      )}
    </section>
  );
}
