/**
 * The queue as a timeline: a lane for each GPU or slot with its running work, and a lane for each waiting job with its
 * predicted start. The tables below show the same as text.
 */

import { formatDuration, plural } from "../../../src/lib/text/format.ts";
import { spanText } from "../../../src/notices/maintenance/model.ts";
import type { HostView, QueueView, RunningView, WaitingView, WorkView } from "../../../src/training/queue/service.ts";
import { stateWord } from "../../parts/state.tsx";
import { soon } from "./words.ts";

const HOUR = 3_600_000;
const SHORTEST = HOUR;
const LONGEST = 7 * 24 * HOUR;
/** Fraction of the width that shows the past. */
const PAST = 0.14;
const MAX_LANES = 48;
const MAX_WAITING = 16;
const STEPS = [10 / 60, 0.5, 1, 2, 4, 8, 12, 24, 48].map((hours) => hours * HOUR);

interface Lane {
  label: string;
  work: RunningView[];
}
interface Machine {
  host: HostView;
  lanes: Lane[];
  /** Number of lanes that do not fit. */
  more: number;
}

/** Lanes for jobs without GPUs, and for the slots that are free. */
function slotLanes(host: HostView, work: RunningView[]): Lane[] {
  const busy = work.map((one, n) => ({ label: one.kind === "serve" ? "Endpoint" : `Slot ${n + 1}`, work: [one] }));
  const free = Math.max(0, (host.slots ?? 0) - work.filter((one) => one.kind !== "serve").length);
  return [...busy, ...Array.from({ length: free }, (_, n) => ({ label: `Slot ${busy.length + n + 1}`, work: [] }))];
}

function machinesOf({ hosts, running }: QueueView): Machine[] {
  let left = MAX_LANES;
  return hosts
    .filter((host) => !host.ask || running.some((one) => one.host === host.id))
    .map((host) => {
      const here = running.filter((one) => one.host === host.id);
      const gpus = host.gpus.map((uuid, n) => ({
        label: `GPU ${n}`,
        work: here.filter((one) => one.uuids.includes(uuid)),
      }));
      const lanes = [
        ...gpus,
        ...slotLanes(
          host,
          here.filter((one) => one.uuids.length === 0),
        ),
      ];
      const shown = lanes.slice(0, Math.max(0, left));
      left -= shown.length;
      return { host, lanes: shown, more: lanes.length - shown.length };
    });
}

/** The time range of the timeline. */
function spanOf({ now, running, waiting, maintenance }: QueueView): { from: number; until: number } {
  const ends = [
    ...running.flatMap(({ ends }) => [ends.earliest, ends.latest]),
    // A distant maintenance would make everything else too small.
    ...maintenance.filter(({ startsAt }) => startsAt < now + 24 * HOUR).map(({ endsAt }) => endsAt),
    // Latest starts may be far off, so they do not count; bars are cut at the edge.
    ...waiting.slice(0, MAX_WAITING).map(({ start }) => start.earliest),
  ].filter((at) => at !== null);
  const ahead = Math.min(LONGEST, Math.max(SHORTEST, ...ends.map((at) => (at - now) * 1.15)));
  return { from: now - (ahead * PAST) / (1 - PAST), until: now + ahead };
}

const nameOf = (work: WorkView) => work.name ?? "another team's work";

function Bar(props: {
  from: number;
  until: number;
  at: (time: number) => number;
  kind: string;
  title: string;
  name?: string;
}) {
  const left = Math.max(0, props.at(props.from));
  const width = Math.max(0.4, Math.min(100, props.at(props.until)) - left);
  return (
    <svg x={`${left}%`} width={`${width}%`} height="100%" class={props.kind}>
      <title>{props.title}</title>
      <rect width="100%" height="100%" rx="3" />
      {props.name && width > 4 ? (
        <text x="6" y="15">
          {props.name}
        </text>
      ) : null}
    </svg>
  );
}

/** Running work: solid until its earliest end, pale until its latest end, and open-ended where that is unknown. */
function Work({ work, at, until, now }: { work: RunningView } & Scale) {
  const { ends } = work;
  const sure = Math.max(now, ends.earliest ?? now);
  const latest = ends.latest ?? until;
  const end = ends.latest === null ? "end unknown" : `ends ${soon(ends, now)}`;
  const title = `${nameOf(work)}, ${end}${work.yielding ? "; saving a checkpoint" : ""}`;
  const kind = work.yielding ? "yielding" : work.own ? "own" : "other";
  return (
    <>
      {latest > sure ? <Bar from={work.since} until={latest} at={at} kind={`${kind} maybe`} title={title} /> : null}
      <Bar from={work.since} until={sure} at={at} kind={kind} title={title} name={nameOf(work)} />
    </>
  );
}

/** Waiting work, from its earliest to its latest start; open-ended where the latest start is unknown. */
function Wait({ work, at, until, now }: { work: WaitingView } & Scale) {
  const { earliest, latest } = work.start;
  const words = soon(work.start, now);
  const title = `${nameOf(work)}: starts ${words}`;
  if (earliest === null || words === "unknown")
    return (
      <text x={`${at(now) + 1}%`} y="15" class="quiet">
        start unknown
      </text>
    );
  return (
    <Bar
      from={Math.max(now, earliest)}
      until={latest ?? until}
      at={at}
      kind={`wait${work.late ? " late" : ""}${latest === null ? " open" : ""}`}
      title={title}
    />
  );
}

/** The key to the kinds of bars that are shown. */
function Key({ running, waiting, maintenance }: QueueView) {
  const own = running.some((one) => one.own && !one.yielding);
  const other = running.some((one) => !one.own && !one.yielding);
  const open = waiting.some(({ start }) => start.earliest !== null && start.latest === null);
  const kinds: [string, string, boolean][] = [
    ["own", "your team", own],
    ["other", "another team", other],
    ["yielding", "saving a checkpoint", running.some((one) => one.yielding)],
    ["own maybe", "may still run", own || other],
    ["wait", "predicted start", waiting.some((one) => !one.late && one.start.latest !== null)],
    ["wait open", "earliest start", open],
    ["band", "maintenance", maintenance.length > 0],
    ["wait late", "will miss its deadline", waiting.some((one) => one.late)],
  ];
  const shown = kinds.filter(([, , isShown]) => isShown);
  if (shown.length === 0) return null;
  return (
    <ul class="key xs muted">
      {shown.map(([kind, label]) => (
        <li>
          <svg width="18" height="10" class={kind} aria-hidden="true">
            <rect x="0.5" y="0.5" width="17" height="9" rx="2" />
          </svg>
          {label}
        </li>
      ))}
    </ul>
  );
}

/** The maintenance windows, as bands in every lane. */
function Bands({ maintenance, at, now }: Scale) {
  return maintenance.map(({ startsAt, endsAt, reason }) => {
    const left = Math.max(0, at(startsAt));
    const width = Math.min(100, at(endsAt)) - left;
    if (width <= 0) return null;
    const title = `Maintenance from ${spanText(startsAt, endsAt)}${startsAt <= now ? ", now" : ""}: ${reason}`;
    return (
      <svg x={`${left}%`} width={`${width}%`} height="100%" class="band">
        <title>{title}</title>
        <rect width="100%" height="100%" />
      </svg>
    );
  });
}

/** The line in every lane that marks the current time. */
function Now({ x }: { x: number }) {
  return <line x1={`${x}%`} x2={`${x}%`} y1="0" y2="100%" class="now" />;
}

export function Timeline({ view }: { view: QueueView }) {
  return (
    <>
      <Lanes view={view} />
      <Key {...view} />
    </>
  );
}

/** The scale of all lanes. `at` converts a time to a position in percent. */
interface Scale {
  at: (time: number) => number;
  until: number;
  now: number;
  maintenance: QueueView["maintenance"];
}

/** The lane with the hours from now on. */
function Ticks({ at, until, now }: Scale) {
  const ahead = until - now;
  const step = STEPS.find((one) => ahead / one <= 6) ?? 48 * HOUR;
  const ticks = Array.from({ length: Math.floor(ahead / step) }, (_, n) => (n + 1) * step).filter(
    (tick) => at(now + tick) < 97,
  );
  return (
    <div class="lane scale">
      <span />
      <svg height="20" width="100%" aria-hidden="true">
        <text x={`${at(now)}%`} y="14" text-anchor="middle" class="strong">
          now
        </text>
        {ticks.map((tick, n) => (
          <text x={`${at(now + tick)}%`} y="14" text-anchor="middle" class={n % 2 === 0 ? "second" : undefined}>
            +{formatDuration(tick / 1000)}
          </text>
        ))}
      </svg>
    </div>
  );
}

function HostLanes({ host, lanes, scale }: Pick<Machine, "host" | "lanes"> & { scale: Scale }) {
  return (
    <>
      <div class="lane head">
        <strong class="clip">{host.name}</strong>
        <span class="xs muted">
          {host.state === "ready" ? host.provider : `${host.provider}, ${stateWord(host.state).toLowerCase()}`}
        </span>
      </div>
      {lanes.map((lane) => (
        <div class="lane">
          <span class="clip muted">{lane.label}</span>
          <svg height="22" width="100%" aria-hidden="true">
            <rect width="100%" height="100%" rx="3" class="ground" />
            <Bands {...scale} />
            {lane.work.map((work) => (
              <Work work={work} {...scale} />
            ))}
            <Now x={scale.at(scale.now)} />
          </svg>
        </div>
      ))}
    </>
  );
}

function WaitingLanes({ waiting, scale }: { waiting: WaitingView[]; scale: Scale }) {
  if (waiting.length === 0) return null;
  return (
    <>
      <div class="lane head">
        <strong>Waiting</strong>
        <span class="xs muted">predicted start</span>
      </div>
      {waiting.map((work) => (
        <div class="lane waits">
          <span class="clip" dir="auto">
            {work.position}. {nameOf(work)}
          </span>
          <svg height="22" width="100%" aria-hidden="true">
            <rect width="100%" height="100%" rx="3" class="ground" />
            <Bands {...scale} />
            <Wait work={work} {...scale} />
            <Now x={scale.at(scale.now)} />
          </svg>
        </div>
      ))}
    </>
  );
}

function Lanes({ view }: { view: QueueView }) {
  const { from, until } = spanOf(view);
  const at = (time: number) => Math.round(((time - from) / (until - from)) * 10_000) / 100;
  const scale = { at, until, now: view.now, maintenance: view.maintenance };
  const machines = machinesOf(view);
  const more = machines.reduce((sum, one) => sum + one.more, 0);
  return (
    <div
      class="timeline"
      role="img"
      aria-label="Running work with predicted ends, and waiting work with predicted starts; the tables below show the same as text"
    >
      <Ticks {...scale} />
      {machines.map(({ host, lanes }) => (
        <HostLanes host={host} lanes={lanes} scale={scale} />
      ))}
      {more > 0 ? <p class="xs muted">{plural(more, "more lane")} on the pages of the hosts.</p> : null}
      <WaitingLanes waiting={view.waiting.slice(0, MAX_WAITING)} scale={scale} />
    </div>
  );
}
