/** What a job may cost at most, and the form that changes it. */
import type { MaxCost } from "../../../src/billing/budgets/max-cost.ts";
import { MICROS } from "../../../src/billing/meters/money.ts";
import { isFinal } from "../../../src/contract/job.ts";
import { formatMoney } from "../../../src/lib/text/format.ts";
import type { JobRow } from "../../../src/training/jobs/model.ts";
import { PostForm } from "../../parts/allowed.tsx";
import { TextField } from "../../parts/form.tsx";

/** @param max null = its owner set no limit */
export function JobCostLimit({ job, max }: { job: JobRow; max: MaxCost | null }) {
  const limit = max === null ? null : max.micros / MICROS;
  if (isFinal(job.state) && limit === null) return null;
  return (
    <section class="panel" aria-labelledby="cost-limit-title">
      <header>
        <h2 id="cost-limit-title">Maximum cost</h2>
        <span class="num">{limit === null ? "no limit" : formatMoney(limit)}</span>
      </header>
      <div class="body stack">
        {max === null || limit === null ? null : (
          <div class="progress">
            <div class="words">
              <span>Used</span>
              <span class="num">
                {formatMoney(max.used / MICROS)} of {formatMoney(limit)}
              </span>
            </div>
            <progress
              aria-label="Part of the maximum cost that is used"
              max={1}
              value={Math.min(1, max.used / max.micros)}
            />
          </div>
        )}
        {isFinal(job.state) ? null : (
          <PostForm action={`/jobs/${encodeURIComponent(job.id)}/edit`} class="form" owner={job.createdBy}>
            <input type="hidden" name="limit" value="yes" />
            <TextField
              name="max_cost_usd"
              label="Maximum cost (USD)"
              inputmode="decimal"
              value={limit === null ? "" : String(limit)}
              placeholder="no limit"
              maxlength={20}
              hint="Before the job passes it, it saves a checkpoint and waits. When you raise it, the job continues."
            />
            <div class="row">
              <button type="submit" class="button">
                Set maximum cost
              </button>
            </div>
          </PostForm>
        )}
      </div>
    </section>
  );
}
