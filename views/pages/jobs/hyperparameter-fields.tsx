/** The hyperparameters of the new-job form, each `auto` unless set, and the scheduling options. */
import { knows, METHOD_FOR } from "../../../src/contract/support.ts";
import { resolvedOf } from "../../../src/training/plan/resolved-text.ts";
import { Field, TextField } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { PlaceFields } from "../queue/place.tsx";
import { FIELDS, type NumberField } from "./fields.ts";
import { type NewJobProps, rowTypeOf } from "./new-props.ts";

function HyperparameterInput({
  field,
  form,
  plan,
  problems,
}: { field: NumberField } & Pick<NewJobProps, "form" | "plan" | "problems">) {
  const value = form.numbers[field.name] ?? "";
  const resolved = plan ? resolvedOf(plan.plan.spec)[field.name] : undefined;
  const why = value === "" ? plan?.plan.reasons[field.name] : undefined;
  return (
    <Field
      id={`field-${field.name}`}
      label={field.label}
      error={problems[field.name]}
      hint={why ?? field.hint}
      render={(ids) =>
        field.options ? (
          <select name={field.name} {...ids}>
            <option value="">{resolved === undefined ? "auto" : `auto, ${resolved}`}</option>
            {field.options.map(([key, label]) => (
              <option value={key} selected={key === value}>
                {label}
              </option>
            ))}
          </select>
        ) : (
          <input
            name={field.name}
            value={value}
            placeholder={resolved === undefined ? "auto" : `auto, ${resolved}`}
            inputmode={field.words ? "text" : "decimal"}
            autocomplete="off"
            {...ids}
          />
        )
      }
    />
  );
}

export function Hyperparameters(props: NewJobProps) {
  const rows = rowTypeOf(props);
  const { method: chosen } = props.form;
  const method = chosen === "auto" && rows ? METHOD_FOR[rows] : chosen;
  const fields = FIELDS.filter((field) => knows(method, field.name));
  const groups = Map.groupBy(fields, (field) => field.group);
  const names = new Set(fields.map((field) => field.name));
  const open =
    Object.values(props.form.numbers).some(Boolean) || Object.keys(props.problems).some((name) => names.has(name));
  return (
    <details class="more" open={open}>
      <summary>
        <Icon name="right" />
        Hyperparameters
        <span class="xs muted">auto unless set</span>
      </summary>
      <div class="stack loose numbers">
        {[...groups].map(([group, members]) => (
          <fieldset class="stack tight">
            <legend>{group}</legend>
            <div class="fields">
              {members.map((field) => (
                <HyperparameterInput field={field} form={props.form} plan={props.plan} problems={props.problems} />
              ))}
            </div>
          </fieldset>
        ))}
      </div>
    </details>
  );
}

const SCHEDULING_FIELDS = [
  "max_cost_usd",
  "priority",
  "not_before",
  "deadline",
  "from",
  "until",
  "tz",
  "days",
  "burst",
  "burst_wait",
  "burst_cost",
] as const;

export function Scheduling({ form, problems, admin }: NewJobProps) {
  const { priority, not_before, deadline, from, until, days, burst } = form.place;
  const maxCost = form.numbers.max_cost_usd ?? "";
  const isSet =
    [not_before, deadline, from, until, maxCost, burst].some(Boolean) ||
    days.length > 0 ||
    !["", "0"].includes(priority);
  return (
    <details class="more" open={isSet || SCHEDULING_FIELDS.some((name) => problems[name])}>
      <summary>
        <Icon name="right" />
        Scheduling and cost
        <span class="xs muted">
          priority, window, deadline, burst policy, maximum cost; as soon as possible unless set
        </span>
      </summary>
      <div class="stack loose numbers">
        <PlaceFields form={form.place} problems={problems} admin={admin} />
        <TextField
          name="max_cost_usd"
          label="Maximum cost (USD)"
          type="text"
          inputmode="decimal"
          value={maxCost}
          placeholder="no limit"
          error={problems.max_cost_usd}
          hint="Before the job passes it, it saves a checkpoint and waits until you raise it."
        />
      </div>
    </details>
  );
}
