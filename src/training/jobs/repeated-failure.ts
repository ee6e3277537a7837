/** Recognizes a failure that would repeat: the same exception at the same place, without progress in between. Pure. */
import type { Progress } from "../../contract/job.ts";
import type { EndReason } from "./failures.ts";
import type { JobRow } from "./model.ts";

/** A line of a traceback, without its indentation: path, line and function. */
const FRAME = /^File "([^"]*)", line (\d+), in (\S+)/;
const EXCEPTION = /^((?:[A-Za-z_]\w*\.)*[A-Z]\w*)(?::|$)/gm;
const TRACEBACK = "Traceback (most recent call last):";

/** An exception and the calls that led to it, by its Python traceback; null when the text has none. */
function tracebackOf(text: string): { calls: string; place: string; exception: string } | null {
  const last = text.slice(Math.max(0, text.lastIndexOf(TRACEBACK)));
  const frames = last.split("\n").flatMap((text) => {
    const [, path, line, name] = FRAME.exec(text.trimStart()) ?? [];
    return path ? [`${path.split(/[\\/]/).at(-1)}:${line} ${name}`] : [];
  });
  const exception = [...last.matchAll(EXCEPTION)].map(([, name]) => name).at(-1);
  const place = frames.at(-1);
  return place && exception ? { calls: frames.join(" > "), place, exception } : null;
}

interface Repeated {
  /** What to remember on the job for its next failure; absent: nothing to compare with. */
  remember: Progress["last_failure"];
  /** Why another attempt would fail in the same way, for users; null when it may succeed. */
  why: string | null;
}

/** Compares a failure of a job with the one before it. Only exceptions without a known reason are compared. */
export function repeatedFailure(
  { progress, queuedAt }: Pick<JobRow, "progress" | "queuedAt">,
  attempt: number,
  failure: { reason: EndReason; detail?: string | null },
): Repeated {
  const found = failure.reason === "internal" && failure.detail ? tracebackOf(failure.detail) : null;
  if (!found) return { remember: undefined, why: null };
  const step = progress.step ?? 0;
  // A job that a user resumed, or that was queued again, starts to count from the beginning.
  const remember = { calls: `${found.exception} ${found.calls}`.slice(-2000), attempt, step, queued_at: queuedAt };
  const before = progress.last_failure;
  const inARow = before?.attempt === attempt - 1 && before.queued_at === queuedAt;
  const same = inARow && before.calls === remember.calls && step <= before.step;
  const why = `${found.exception} was raised twice in a row at ${found.place}, with no step trained in between, so it is not tried again.`;
  return { remember, why: same ? why : null };
}
