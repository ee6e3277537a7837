/** Which news of the bus a stream passes on, by topic, and only to the organization it belongs to. */
import type { Ctx } from "../../ctx.ts";
import type { BusEvents, BusName } from "../../lib/bus.ts";

export const TOPICS = [
  "jobs",
  "progress",
  "checkpoints",
  "datasets",
  "files",
  "models",
  "evaluations",
  "deployments",
  "sweeps",
  "hosts",
  "queue",
] as const;
type Topic = (typeof TOPICS)[number];

/** Topics whose ids are those of jobs, and which are always passed on for the jobs a stream names. */
const OF_JOBS = new Set<Topic>(["jobs", "checkpoints"]);

/** Something changed; whoever shows it asks for it again. `state` is the new state where the news names one. */
export interface Changed {
  topic: Topic;
  id: string;
  state: string | null;
}

/**
 * Listens for an organization until the returned function is called.
 * @param jobs state changes of these jobs are passed on whatever the topics
 */
export function listenTopics(
  ctx: Ctx,
  org: string,
  wanted: { topics: ReadonlySet<string>; jobs: ReadonlySet<string> },
  tell: (changed: Changed) => void,
): () => void {
  const stops: (() => void)[] = [];
  const pass = <N extends BusName>(topic: Topic, name: N, read: (event: BusEvents[N]) => [string, string | null]) => {
    stops.push(
      ctx.bus.on(name, (event) => {
        if ("org" in event && event.org !== org) return;
        const [id, state] = read(event);
        if (wanted.topics.has(topic) || (OF_JOBS.has(topic) && wanted.jobs.has(id))) tell({ topic, id, state });
      }),
    );
  };
  pass("jobs", "job.changed", (event) => [event.jobId, event.state]);
  pass("progress", "job.progress", (event) => [event.jobId, null]);
  pass("checkpoints", "checkpoint.added", (event) => [event.jobId, null]);
  pass("datasets", "dataset.changed", (event) => [event.datasetId, null]);
  pass("files", "file.changed", (event) => [event.fileId, null]);
  pass("models", "base_model.changed", (event) => [event.modelId, null]);
  pass("models", "model.created", (event) => [event.modelId, null]);
  pass("evaluations", "evaluation.changed", (event) => [event.evaluationId, null]);
  pass("sweeps", "sweep.changed", (event) => [event.sweepId, event.state]);
  pass("deployments", "deployment.changed", (event) => [event.deploymentId, event.state]);
  pass("hosts", "hosts.changed", (event) => [event.ids[0] ?? "", null]);
  // Everybody stands in one queue. Whose job it was stays untold: only that something moved.
  if (wanted.topics.has("queue"))
    stops.push(ctx.bus.on("job.changed", () => tell({ topic: "queue", id: "", state: null })));
  return () => {
    for (const stop of stops) stop();
  };
}
