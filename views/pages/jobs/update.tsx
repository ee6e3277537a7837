/**
 * The response to a refresh of a job page. Everything that depends on the job's state is in it, so that no part of the
 * page contradicts another.
 */
import type { VNode } from "preact";
import { JobHistory, type JobHistoryProps } from "./history.tsx";
import { JobOutcome, type JobOutcomeProps } from "./outcome.tsx";
import { Attempts, type AttemptsProps, JobSpecPanel, type JobSpecProps } from "./spec.tsx";
import { JobActions, JobBadge, JobStatus, type JobStatusProps } from "./status.tsx";
import { JobUse, type JobUseProps } from "./use.tsx";

export type JobUpdateProps = JobStatusProps &
  JobOutcomeProps &
  JobSpecProps &
  AttemptsProps &
  JobUseProps &
  JobHistoryProps;

/** The status with the other parts beside it, each replaced by its id. */
export function JobUpdate(props: JobUpdateProps): VNode {
  const parts: [id: string, part: VNode][] = [
    ["job-badge", <JobBadge {...props} />],
    ["job-actions", <JobActions {...props} />],
    ["job-outcome", <JobOutcome {...props} />],
    ["job-spec", <JobSpecPanel {...props} />],
    ["job-attempts", <Attempts {...props} />],
    ["job-use", <JobUse {...props} />],
    ["job-history", <JobHistory {...props} />],
  ];
  return (
    <>
      <JobStatus {...props} />
      {parts.map(([id, part]) => (
        <hx-partial hx-target={`#${id}`} hx-swap="outerMorph">
          {part}
        </hx-partial>
      ))}
    </>
  );
}
