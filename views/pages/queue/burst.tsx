/** The fields of a burst policy: of a job, and of the jobs of a team. */
import { Field, TextField } from "../../parts/form.tsx";
import type { BurstForm } from "./form.ts";
import { BURST_WORDS } from "./words.ts";

interface BurstProps {
  form: BurstForm;
  problems: Record<string, string>;
  /** What an empty policy means. */
  inherits: string;
}

/** The choice of a policy, and the two limits of `burst`. */
export function BurstFields({ form, problems, inherits }: BurstProps) {
  return (
    <fieldset class="stack tight">
      <legend class="visually-hidden">Burst to rented machines</legend>
      <div class="fields">
        <Field
          id="field-burst"
          label="Burst to rented machines"
          error={problems.burst}
          render={(ids) => (
            <select {...ids} name="burst">
              <option value="">{inherits}</option>
              {Object.entries(BURST_WORDS).map(([type, words]) => (
                <option value={type} selected={form.burst === type}>
                  {words}
                </option>
              ))}
            </select>
          )}
        />
        <TextField
          name="burst_wait"
          label="Wait longer than (minutes)"
          type="text"
          inputmode="decimal"
          value={form.burst_wait}
          placeholder="0"
          error={problems.burst_wait}
        />
        <TextField
          name="burst_cost"
          label="Cost below (USD)"
          type="text"
          inputmode="decimal"
          value={form.burst_cost}
          placeholder="no limit"
          error={problems.burst_cost}
        />
      </div>
      <p class="xs muted">
        The two limits belong to the policy "{BURST_WORDS.burst}": a job rents when the predicted wait for own machines
        is longer, and the predicted total cost of an offer is lower. Spot machines come first where they cost less in
        all. Limits of providers, maximum prices and maximum costs hold with every policy.
      </p>
    </fieldset>
  );
}
