/** Converts the forms of the queue's pages to requests and back. An empty field means "not set". */
import * as v from "valibot";
import type { JobRow } from "../../../src/training/jobs/model.ts";
import { QueueChange } from "../../../src/training/jobs/placement-model.ts";
import { ShareChange } from "../../../src/training/queue/model.ts";
import type { TeamView } from "../../../src/training/queue/teams.ts";

/** Scheduling options as typed into the form. */
export interface PlaceForm {
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
};
export const PlaceBody = v.strictObject(PLACE_FIELDS);
export const ShareBody = v.strictObject({ weight: text, max_gpus: text, gpu_hours_per_month: text });

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
};

/** The form with the current scheduling options of a job. */
export function placeForm(row: Pick<JobRow, "priority" | "startAfter" | "deadline" | "window">): PlaceForm {
  const { priority, startAfter, deadline, window } = row;
  return {
    priority: String(priority),
    not_before: local(startAfter),
    deadline: local(deadline),
    from: window?.from ?? "",
    until: window?.until ?? "",
    tz: window?.tz ?? "UTC",
    days: (window?.days ?? []).map(String),
  };
}

const sentence = (message: string) => message.charAt(0).toUpperCase() + message.slice(1);

/** Form field for a field of the request. An error about the whole window is shown at its end time. */
export const placeField = (path: string): string =>
  path === "window" ? "until" : path.replace(/^window\.(\w+).*/, "$1");

/** The scheduling options among the fields of a posted form. */
export const postedPlace = ({ priority, not_before, deadline, from, until, tz, days }: PlaceForm): PlaceForm => ({
  priority,
  not_before,
  deadline,
  from,
  until,
  tz,
  days,
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
const shown = (value: number | null) => (value === null ? "" : String(value));
export const shareForm = (team: TeamView): ShareForm => ({
  weight: String(team.weight),
  max_gpus: shown(team.maxGpus),
  gpu_hours_per_month: shown(team.monthGpuHours),
});

export function shareRequest(form: ShareForm): { change: ShareChange } | { problems: Record<string, string> } {
  const parsed = v.safeParse(ShareChange, {
    weight: number(form.weight) ?? 1,
    max_gpus: number(form.max_gpus),
    gpu_hours_per_month: number(form.gpu_hours_per_month),
  });
  return parsed.success ? { change: parsed.output } : { problems: problemsOf(parsed.issues) };
}
