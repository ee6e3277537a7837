/** Maps events on the bus to the topics of a stream, limited to one organization. */
import type { Ctx } from "../../ctx.ts";
import type { BusEvents, BusName } from "../../lib/bus.ts";

export const TOPICS = [
  "jobs",
  "progress",
  "checkpoints",
  "datasets",
  "files",
  "models",
  "pushes",
  "archives",
  "subjects",
  "evaluations",
  "deployments",
  "sweeps",
  "deliveries",
  "hosts",
  "queue",
] as const;
type Topic = (typeof TOPICS)[number];

/** Topics with job ids. A stream always gets them for its own jobs. */
const JOB_TOPICS = new Set<Topic>(["jobs", "progress", "checkpoints"]);

/** Something changed and should be read again. `state` is the new state, where the event has one. */
export interface Changed {
  topic: Topic;
  id: string;
  state: string | null;
}

/**
 * Listens for an organization until the returned function is called.
 * @param wanted topics, and jobs whose state changes are passed on regardless of topics
 */
export function listenTopics(
  ctx: Ctx,
  org: string,
  wanted: { topics: ReadonlySet<string>; jobs: ReadonlySet<string> },
  notify: (changed: Changed) => void,
): () => void {
  const stops: (() => void)[] = [];
  const pass = <N extends BusName>(topic: Topic, name: N, read: (event: BusEvents[N]) => [string, string | null]) => {
    stops.push(
      ctx.bus.on(name, (event) => {
        if ("org" in event && event.org !== org) return;
        const [id, state] = read(event);
        if (wanted.topics.has(topic) || (JOB_TOPICS.has(topic) && wanted.jobs.has(id))) notify({ topic, id, state });
      }),
    );
  };
  pass("jobs", "job.changed", (event) => [event.jobId, event.state]);
  pass("progress", "job.progress", (event) => [event.jobId, null]);
  pass("checkpoints", "checkpoint.added", (event) => [event.jobId, null]);
  pass("subjects", "subject.changed", (event) => [event.requestId, null]);
  pass("datasets", "dataset.changed", (event) => [event.datasetId, null]);
  pass("files", "file.changed", (event) => [event.fileId, null]);
  pass("models", "base_model.changed", (event) => [event.modelId, null]);
  pass("models", "model.created", (event) => [event.modelId, null]);
  pass("archives", "archive.changed", (event) => [event.archiveId, null]);
  pass("pushes", "push.changed", (event) => [event.modelId, null]);
  pass("evaluations", "evaluation.changed", (event) => [event.evaluationId, null]);
  pass("sweeps", "sweep.changed", (event) => [event.sweepId, event.state]);
  pass("deployments", "deployment.changed", (event) => [event.deploymentId, event.state]);
  pass("deliveries", "delivery.changed", (event) => [event.deliveryId, null]);
  pass("hosts", "hosts.changed", (event) => [event.ids[0] ?? "", null]);
  // All organizations share the queue, so every one is notified, but without the id of the job.
  if (wanted.topics.has("queue"))
    stops.push(ctx.bus.on("job.changed", () => notify({ topic: "queue", id: "", state: null })));
  return () => {
    for (const stop of stops) stop();
  };
}
