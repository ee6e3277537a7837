/**
 * `/`: running work, what needs attention, deployments and hosts; for a new user the steps to a first model.
 */
import type { VNode } from "preact";
import type { HostView } from "../../../src/compute/hosts/model.ts";
import type { HomeSummary } from "../../../src/insights/analytics/model.ts";
import type { Attention } from "../../../src/insights/home/model.ts";
import { formatCount, formatMoney, formatNumber, formatPercent, plural } from "../../../src/lib/text/format.ts";
import type { DeploymentView } from "../../../src/serving/deployments/model.ts";
import type { JobRow } from "../../../src/training/jobs/model.ts";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { PostForm, RoleLink } from "../../parts/allowed.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Empty } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { liveOn } from "../../parts/table.tsx";
import { Progress, Snippet, SpaceBar, Sparkline, Stat, Stats, Time } from "../../parts/value.tsx";
import { gpuName } from "../hosts/gpu.tsx";
import { activityOf, progressOf, timeLeft } from "../jobs/describe.ts";

/** Which of the first steps are done. */
interface FirstSteps {
  data: boolean;
  job: boolean;
  /** A fine-tuned model exists: all steps are done. */
  model: boolean;
}

interface HomeProps {
  running: { job: JobRow; losses: (number | null)[] }[];
  recent: JobRow[];
  attention: Attention[];
  deployments: DeploymentView[];
  hosts: HostView[];
  summary: HomeSummary;
  /** USD since the first day of the month. */
  monthUsd: number;
  firstSteps: FirstSteps;
}

const jobPath = (job: JobRow) => `/jobs/${encodeURIComponent(job.id)}`;

function FirstStepsPanel({ steps }: { steps: FirstSteps }) {
  const now = steps.job ? 3 : steps.data ? 2 : 1;
  const state = (step: number, done: boolean) => (done ? "done" : step === now ? "now" : undefined);
  return (
    <section aria-labelledby="first-steps-title" class="stack tight">
      <h2 id="first-steps-title">Your first fine-tuned model in three steps</h2>
      <ol class="first-steps">
        <li class={state(1, steps.data)}>
          <h3>Add data</h3>
          <p>Upload examples of good answers. The sample dataset teaches a model to classify bank messages as JSON.</p>
          {steps.data ? (
            <a class="button" href="/datasets">
              View datasets
            </a>
          ) : (
            <>
              <PostForm action="/datasets/sample">
                <button type="submit" class="button primary">
                  Use the sample dataset
                </button>
              </PostForm>
              <a class="small" href="/datasets">
                Upload your own
              </a>
            </>
          )}
        </li>
        <li class={state(2, steps.job)}>
          <h3>Fine-tune</h3>
          <p>
            Choose a model and a dataset; hyperparameters are set automatically. It takes a few minutes and needs no
            GPU.
          </p>
          {now >= 2 ? (
            <RoleLink class={now === 2 ? "button primary" : "button"} href={now === 2 ? "/jobs/new" : "/jobs"}>
              {now === 2 ? "Start a job" : "View jobs"}
            </RoleLink>
          ) : null}
        </li>
        <li class={state(3, steps.model)}>
          <h3>Compare and deploy</h3>
          <p>Compare the model before and after training, then deploy it behind an OpenAI-compatible endpoint.</p>
        </li>
      </ol>
    </section>
  );
}

function Running({ running }: Pick<HomeProps, "running">) {
  const { now } = usePage();
  return (
    <section class="panel" aria-labelledby="running-title">
      <header>
        <h2 id="running-title">Active jobs</h2>
        <a class="small" href="/jobs?state=active">
          View all
        </a>
      </header>
      {running.length ? (
        <ul class="lines-list">
          {running.map(({ job, losses }) => {
            const { fraction, loss } = progressOf(job);
            const left = timeLeft(job, now);
            return (
              <li id={`run-${job.id}`}>
                <div class="grow stack tight">
                  <div class="row fixed between">
                    <a class="clip strong" href={jobPath(job)} title={job.name} dir="auto">
                      {job.name}
                    </a>
                    <StateBadge state={job.state} />
                  </div>
                  {job.state === "queued" ? (
                    <span class="small muted">{activityOf(job)}</span>
                  ) : (
                    <Progress
                      label={`Progress of ${job.name}`}
                      fraction={fraction}
                      left={activityOf(job)}
                      right={[fraction !== null ? formatPercent(fraction) : null, left && `about ${left}`]
                        .filter(Boolean)
                        .join(", ")}
                    />
                  )}
                </div>
                {job.kind === "train" && losses.length > 1 ? (
                  <div class="spark-box">
                    <Sparkline values={losses} label={`Training loss of ${job.name}`} />
                    <span class="xs muted num">loss {formatNumber(loss ?? losses.at(-1))}</span>
                  </div>
                ) : null}
              </li>
            );
          })}
        </ul>
      ) : (
        <Empty icon="jobs" title="No active jobs" slim>
          Jobs that you start appear here.
        </Empty>
      )}
    </section>
  );
}

function Needs({ attention }: Pick<HomeProps, "attention">) {
  if (!attention.length) return null;
  return (
    <section class="panel" aria-labelledby="needs-title">
      <header>
        <h2 id="needs-title">Needs attention</h2>
      </header>
      <ul class="lines-list">
        {attention.map((one) => (
          <li id={`needs-${one.id}`}>
            <span class="warn-text">
              <Icon name={one.icon} />
            </span>
            <div class="grow">
              <div class="clip" dir="auto" title={one.name}>
                {one.name}
              </div>
              <div class="xs muted two-lines" title={one.text}>
                {one.text}
                {one.at ? (
                  <>
                    {" "}
                    <Time at={one.at} />
                  </>
                ) : null}
              </div>
            </div>
            <a class="button small" href={one.href}>
              {one.action}
            </a>
          </li>
        ))}
      </ul>
    </section>
  );
}

function OpenAi({ origin }: { origin: string }) {
  const code = `from openai import OpenAI

client = OpenAI(base_url="${origin}/v1", api_key="ftl-…")
client.fine_tuning.jobs.create(model="smollm2-135m-instruct", training_file=file.id)`;
  return (
    <section class="panel" aria-labelledby="openai-title">
      <header>
        <h2 id="openai-title">Use your OpenAI code</h2>
        <a class="small" href="/settings">
          Create an API key
        </a>
      </header>
      <div class="body stack">
        <p class="muted">
          Change the base URL and the API key; files, fine-tuning jobs, checkpoints, models and chat work unchanged. The{" "}
          <a href="/docs">API reference</a> lists every request.
        </p>
        <Snippet label="Python with OpenAI's client" text={code} />
      </div>
    </section>
  );
}

function Recent({ recent }: Pick<HomeProps, "recent">) {
  if (!recent.length) return null;
  return (
    <section class="panel" aria-labelledby="recent-title">
      <header>
        <h2 id="recent-title">Recently finished</h2>
        <a class="small" href="/jobs">
          All jobs
        </a>
      </header>
      <ul class="lines-list">
        {recent.map((job) => (
          <li id={`recent-${job.id}`}>
            <div class="grow">
              <a class="clip as-block" href={jobPath(job)} title={job.name} dir="auto">
                {job.name}
              </a>
              <span class="xs muted">
                {job.spec.base_model.id} · <Time at={job.finishedAt ?? job.createdAt} />
              </span>
            </div>
            <StateBadge state={job.state} />
          </li>
        ))}
      </ul>
    </section>
  );
}

function Endpoints({ deployments, summary }: Pick<HomeProps, "deployments" | "summary">) {
  return (
    <section class="panel" aria-labelledby="endpoints-title">
      <header>
        <h2 id="endpoints-title">Deployments</h2>
        <a class="small" href="/deployments">
          All deployments
        </a>
      </header>
      {deployments.length ? (
        <>
          <ul class="lines-list">
            {deployments.map((one) => (
              <li id={`dep-${one.id}`}>
                <div class="grow">
                  <a class="clip as-block" href={`/deployments/${one.id}`} title={one.model} dir="auto">
                    {one.name}
                  </a>
                  <span class="xs muted">
                    {one.last_request_at ? (
                      <>
                        last request <Time at={one.last_request_at * 1000} />
                      </>
                    ) : (
                      "no requests yet"
                    )}
                  </span>
                </div>
                <StateBadge state={one.state} />
              </li>
            ))}
          </ul>
          <footer class="xs muted">
            {plural(summary.last_day.requests, "request")} in the last day, {plural(summary.last_day.errors, "error")},{" "}
            {formatCount(summary.last_day.completion_tokens)} tokens generated
          </footer>
        </>
      ) : (
        <Empty icon="deploy" title="No deployments" slim>
          Deploy a fine-tuned model from its page.
        </Empty>
      )}
    </section>
  );
}

/** What a GPU does, in a word or two. */
function gpuUse(gpu: HostView["gpus"][number]): string {
  if (gpu.lost) return "lost";
  if (gpu.held_by.length > 0) return "in use";
  return gpu.used_outside ? "used from outside" : "free";
}

function Hosts({ hosts }: Pick<HomeProps, "hosts">) {
  return (
    <section class="panel" aria-labelledby="hosts-title">
      <header>
        <h2 id="hosts-title">Hosts</h2>
        <a class="small" href="/hosts">
          Details
        </a>
      </header>
      <div class="body stack">
        {hosts.map((host) => {
          const used = host.memory.total_bytes - host.memory.free_bytes;
          const disk = host.disk.total_bytes - host.disk.free_bytes;
          return (
            <div class="stack tight">
              <div class="row between">
                <span class="clip">{host.name}</span>
                <span class="xs muted">
                  {host.gpus.length ? plural(host.gpus.length, "GPU") : `${plural(host.cpu.cores, "core")}, no GPU`}
                </span>
              </div>
              <div class="cells">
                {host.slots ? (
                  <span class="tag">
                    {host.slots.train.used} of {host.slots.train.total} training slots in use
                  </span>
                ) : null}
                {host.slots ? (
                  <span class="tag">
                    {host.slots.serve.used} of {host.slots.serve.total} serving slots in use
                  </span>
                ) : null}
                {host.gpus.map((gpu) => (
                  <div class={`cell${gpu.lost ? " lost" : gpu.held_by.length > 0 ? " busy" : ""}`}>
                    {gpu.lost ? <Icon name="failed" /> : null}
                    {gpuName(gpu)} {gpuUse(gpu)}
                  </div>
                ))}
              </div>
              <SpaceBar label="Memory" used={used} total={host.memory.total_bytes} />
              <SpaceBar label="Disk" used={disk} total={host.disk.total_bytes} />
            </div>
          );
        })}
      </div>
    </section>
  );
}

/** Everything below the title; refreshed as a whole and morphed in place. */
export function HomeBoard(props: HomeProps): VNode {
  const { url } = usePage();
  const { summary, firstSteps } = props;
  const fresh = !firstSteps.model && props.running.length === 0;
  return (
    <div id="home" class="stack" {...liveOn(url, "jobs", "progress", "deployments", "datasets", "models")}>
      {firstSteps.model ? null : <FirstStepsPanel steps={firstSteps} />}
      {fresh ? null : (
        <Stats>
          <Stat label="Running">{summary.jobs.running}</Stat>
          <Stat label="Queued">{summary.jobs.queued}</Stat>
          <Stat label="Deployments">{summary.deployments.ready} ready</Stat>
          <Stat label="Requests, last day">{formatCount(summary.last_day.requests)}</Stat>
          <Stat label="Cost this month">{formatMoney(props.monthUsd)}</Stat>
        </Stats>
      )}
      <div class="evidence">
        <div class="stack">
          {fresh ? null : <Running running={props.running} />}
          <Needs attention={props.attention} />
          {fresh ? <OpenAi origin={url.origin} /> : null}
          <Recent recent={props.recent} />
        </div>
        <div class="stack">
          {fresh ? null : <Endpoints deployments={props.deployments} summary={summary} />}
          <Hosts hosts={props.hosts} />
        </div>
      </div>
    </div>
  );
}

export function HomePage(props: HomeProps) {
  return (
    <Layout
      title="Home"
      live={{ topics: ["jobs", "progress", "deployments", "datasets", "models"] }}
      actions={
        props.firstSteps.model ? (
          <RoleLink class="button primary" href="/jobs/new" data-new>
            <Icon name="plus" />
            New job
          </RoleLink>
        ) : undefined
      }
    >
      <HomeBoard {...props} />
    </Layout>
  );
}
