/** Converts the forms of the queue's pages to requests and back. An empty field means "not set". */
import * as v from "valibot";
import type { BurstPolicy } from "../../../src/lib/text/burst-policy.ts";
import type { JobRow } from "../../../src/training/jobs/model.ts";
import { QueueChange } from "../../../src/training/jobs/placement-model.ts";
import { ChangeTeamBurst, ShareChange } from "../../../src/training/queue/model.ts";
import type { TeamView } from "../../../src/training/queue/teams.ts";

/** A burst policy as typed into the form: the wait in minutes, the cost in USD. */
export interface BurstForm {
  burst: string;
  burst_wait: string;
  burst_cost: string;
}

/** Scheduling options as typed into the form. */
export interface PlaceForm extends BurstForm {
  priority: string;
  not_before: string;
  deadline: string;
  from: string;
  until: string;
  tz: string;
  /** Days on which the window opens, `0` (Sunday) to `6`; an empty list = every day. */
  days: string[];
}

const text = v.optional(v.pipe(v.string(), v.maxLength(60)), "");
const BURST_FIELDS = { burst: text, burst_wait: text, burst_cost: text };
export const PLACE_FIELDS = {
  priority: text,
  not_before: text,
  deadline: text,
  from: text,
  until: text,
  tz: text,
  // One checkbox sends a string, several send a list.
  days: v.optional(
    v.pipe(
      v.union([
        v.pipe(v.string(), v.maxLength(10)),
        v.pipe(v.array(v.pipe(v.string(), v.maxLength(10))), v.maxLength(7)),
      ]),
      v.transform((given) => [given].flat()),
    ),
    [],
  ),
  ...BURST_FIELDS,
};
export const PlaceBody = v.strictObject(PLACE_FIELDS);
export const ShareBody = v.strictObject({
  weight: text,
  max_gpus: text,
  gpu_hours_per_month: text,
  burst_locked: text,
  ...BURST_FIELDS,
});
export const BurstBody = v.strictObject(BURST_FIELDS);

const shown = (value: number | null) => (value === null ? "" : String(value));
/** A time in milliseconds as the value of a datetime-local field, in UTC. */
const local = (at: number | null) => (at === null ? "" : new Date(at).toISOString().slice(0, 16));

export const EMPTY_PLACE: PlaceForm = {
  priority: "",
  not_before: "",
  deadline: "",
  from: "",
  until: "",
  tz: "UTC",
  days: [],
  burst: "",
  burst_wait: "",
  burst_cost: "",
};

/** The form of a policy; empty without one. */
export function burstForm(policy: BurstPolicy | null): BurstForm {
  const limits = policy?.type === "burst" ? policy : null;
  return {
    burst: policy?.type ?? "",
    burst_wait: limits && limits.wait_over_s > 0 ? String(limits.wait_over_s / 60) : "",
    burst_cost: shown(limits?.cost_under_usd ?? null),
  };
}

/** The form with the current scheduling options of a job. */
export function placeForm(row: Pick<JobRow, "priority" | "startAfter" | "deadline" | "window" | "burst">): PlaceForm {
  const { priority, startAfter, deadline, window, burst } = row;
  return {
    priority: String(priority),
    not_before: local(startAfter),
    deadline: local(deadline),
    from: window?.from ?? "",
    until: window?.until ?? "",
    tz: window?.tz ?? "UTC",
    days: (window?.days ?? []).map(String),
    ...burstForm(burst),
  };
}

const sentence = (message: string) => message.charAt(0).toUpperCase() + message.slice(1);

const BURST_CONTROLS: Record<string, string> = {
  "burst.wait_over_s": "burst_wait",
  "burst.cost_under_usd": "burst_cost",
};

/** Form field for a field of the request. An error about the whole window is shown at its end time. */
export const placeField = (path: string): string =>
  path === "window"
    ? "until"
    : (BURST_CONTROLS[path] ?? path.replace(/^window\.(\w+).*/, "$1").replace(/^burst\..*/, "burst"));

/** The scheduling options among the fields of a posted form. */
export const postedPlace = ({
  priority,
  not_before,
  deadline,
  from,
  until,
  tz,
  days,
  burst,
  burst_wait,
  burst_cost,
}: PlaceForm): PlaceForm => ({
  priority,
  not_before,
  deadline,
  from,
  until,
  tz,
  days,
  burst,
  burst_wait,
  burst_cost,
});

/** Validation messages by field of the form. */
function problemsOf(issues: readonly v.BaseIssue<unknown>[]): Record<string, string> {
  const problems: Record<string, string> = {};
  for (const issue of issues) {
    const field = placeField(v.getDotPath(issue as v.BaseIssue<Record<string, unknown>>) ?? "_");
    problems[field] ??= sentence(issue.message);
  }
  return problems;
}

/** Parses a typed number. Other text stays text, and the schema refuses it. */
const number = (value: string) => (value.trim() === "" ? null : Number.isNaN(Number(value)) ? value : Number(value));
/** A datetime-local value as a UTC time, with or without seconds. */
const moment = (value: string) => (value === "" ? null : `${value}Z`);

/** A typed number, with a decimal comma or point. */
const decimal = (value: string) => number(value.trim().replace(",", "."));

/** The policy of a form as a field of a request, not yet validated; null = none of its own. */
function burstOfForm({ burst, burst_wait: wait, burst_cost: cost }: BurstForm): unknown {
  if (burst === "") return null;
  if (burst !== "burst") return { type: burst };
  const minutes = decimal(wait) ?? 0;
  return {
    type: burst,
    wait_over_s: typeof minutes === "number" ? Math.round(minutes * 60) : minutes,
    cost_under_usd: decimal(cost),
  };
}

/** The scheduling options of a form as fields of a request, not yet validated. */
export function optionsOfForm(form: PlaceForm): Record<string, unknown> {
  const some = form.days.length > 0 && form.days.length < 7;
  const hours = form.from !== "" || form.until !== "" || some;
  return {
    priority: number(form.priority) ?? 0,
    not_before: moment(form.not_before),
    deadline: moment(form.deadline),
    window: hours
      ? {
          from: form.from,
          until: form.until,
          tz: form.tz.trim() || "UTC",
          ...(some ? { days: form.days.map(number).sort() } : {}),
        }
      : null,
    burst: burstOfForm(form),
  };
}

/**
 * The change that a form requests. Only fields that differ from the current options are sent, so a time that has passed
 * or seconds that the form does not show stay as they are.
 * @returns `change` is null when nothing differs
 */
export function placeRequest(
  form: PlaceForm,
  current: PlaceForm,
): { change: QueueChange | null } | { problems: Record<string, string> } {
  const before = optionsOfForm(current);
  const differs = Object.entries(optionsOfForm(form)).filter(
    ([name, option]) => JSON.stringify(option) !== JSON.stringify(before[name]),
  );
  if (differs.length === 0) return { change: null };
  const parsed = v.safeParse(QueueChange, Object.fromEntries(differs));
  return parsed.success ? { change: parsed.output } : { problems: problemsOf(parsed.issues) };
}

export type ShareForm = v.InferOutput<typeof ShareBody>;
export const shareForm = (team: TeamView): ShareForm => ({
  weight: String(team.weight),
  max_gpus: shown(team.maxGpus),
  gpu_hours_per_month: shown(team.monthGpuHours),
  burst_locked: team.burstLocked ? "yes" : "",
  ...burstForm(team.burst),
});

export function shareRequest(form: ShareForm): { change: ShareChange } | { problems: Record<string, string> } {
  const parsed = v.safeParse(ShareChange, {
    weight: number(form.weight) ?? 1,
    max_gpus: number(form.max_gpus),
    gpu_hours_per_month: number(form.gpu_hours_per_month),
    burst: burstOfForm(form),
    burst_locked: form.burst_locked === "yes",
  });
  return parsed.success ? { change: parsed.output } : { problems: problemsOf(parsed.issues) };
}

/** The policy of a form of its own. */
export function burstRequest(form: BurstForm): { change: ChangeTeamBurst } | { problems: Record<string, string> } {
  const parsed = v.safeParse(ChangeTeamBurst, { burst: burstOfForm(form) });
  return parsed.success ? { change: parsed.output } : { problems: problemsOf(parsed.issues) };
}
