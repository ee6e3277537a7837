/** The choice of a base model, or of a fine-tuned model to continue from, in the new-job form. */
import { formatBytes, formatCount, plural } from "../../../src/lib/text/format.ts";
import { DEFAULT_BASE_MODEL } from "../../../src/models/base/catalogue.ts";
import type { Fit } from "../../../src/training/plan/fits.ts";
import { fitWords } from "../../parts/fit.tsx";
import { Icon } from "../../parts/icons.tsx";
import { StateBadge } from "../../parts/state.tsx";
import type { NewJobProps } from "./new-props.ts";

/** Shown without an installed base model: the one that is being installed, or the included one, is chosen. */
function NoBase({ form, bases }: Pick<NewJobProps, "form" | "bases">) {
  const installing = bases.find((one) => one.status === "installing");
  const offered = installing ?? bases.find((one) => one.id === DEFAULT_BASE_MODEL);
  if (!offered) return null;
  return (
    <>
      <div class="choices two">
        <label class="choice">
          <input type="radio" name="model" value={offered.id} checked={offered.id === form.model} required />
          <span>
            <strong class="clip">{offered.name}</strong>
            <span class="xs muted">
              {formatCount(offered.parameters)} parameters
              {offered.id === DEFAULT_BASE_MODEL ? ", needs no GPU, installs in about a minute" : ""}
            </span>
            <FitLine fit={offered.fit} />
          </span>
        </label>
      </div>
      <p class="small muted">
        {installing ? (
          <>
            <a href={`/models/${encodeURIComponent(installing.id)}`}>It is being installed</a>. The job starts
            afterwards.
          </>
        ) : (
          <>
            No base model is installed yet. The job installs the chosen one first.{" "}
            <a href="/models?tab=base">See all models</a>
          </>
        )}
      </p>
    </>
  );
}

/** Fine-tuned models to continue from; collapsed by default. */
function TunedChoices({ form, tuned }: Pick<NewJobProps, "form" | "tuned">) {
  if (!tuned.length) return null;
  return (
    <details class="more" open={form.model.startsWith("ft:")}>
      <summary>
        <Icon name="right" />
        Continue from a fine-tuned model
        <span class="xs muted">continues training its adapter, or all weights of a full model</span>
      </summary>
      <div class="choices">
        {tuned.map((one) => (
          <label class="choice">
            <input type="radio" name="model" value={one.id} checked={one.id === form.model} />
            <span>
              <strong class="clip">{one.id}</strong>
              <span class="xs muted">based on {one.base}</span>
            </span>
          </label>
        ))}
      </div>
    </details>
  );
}

/** Whether the model fits here, with the memory that it needs. */
function FitLine({ fit }: { fit: Fit | null }) {
  if (!fit) return null;
  const { short, detail } = fitWords(fit);
  return (
    <span class="row xs" title={detail}>
      <StateBadge state={fit.fits ? "fits" : "too_large"} />
      <span class="muted">{short}</span>
    </span>
  );
}

/** Models that fit here first. */
const fitsFirst = (bases: NewJobProps["bases"]) =>
  bases.toSorted((a, b) => Number(b.fit?.fits ?? false) - Number(a.fit?.fits ?? false));

/** Base models of the catalogue that are not installed; the job installs the chosen one first. */
function Installable({ form, bases }: Pick<NewJobProps, "form" | "bases">) {
  const ready = bases.some((one) => one.status === "ready" && one.accepted);
  // Without an installed model the included one is offered by itself.
  const installable = ({ id, status }: NewJobProps["bases"][number]) =>
    (status === "available" || status === "failed") && (ready || id !== DEFAULT_BASE_MODEL);
  const others = fitsFirst(bases.filter(installable));
  if (others.length === 0) return null;
  return (
    <details class="more" open={others.some((one) => one.id === form.model)}>
      <summary>
        <Icon name="right" />
        {plural(others.length, "more model")}
        <span class="xs muted">the job installs the chosen one first</span>
      </summary>
      <div class="choices two">
        {others.map((one) => (
          <label class="choice">
            <input type="radio" name="model" value={one.id} checked={one.id === form.model} disabled={!one.accepted} />
            <span>
              <strong class="clip">{one.name}</strong>
              <span class="xs muted">
                {formatCount(one.parameters)} parameters,{" "}
                {one.downloadBytes ? `about ${formatBytes(one.downloadBytes)} to download, ` : ""}
                <span class="nowrap">{one.license}</span>
                {one.accepted ? null : (
                  <>
                    {" · "}
                    <a href={`/models/${encodeURIComponent(one.id)}#license`}>accept the license first</a>
                  </>
                )}
              </span>
              <FitLine fit={one.fit} />
            </span>
          </label>
        ))}
      </div>
      <p class="xs muted">
        Whether a LoRA run with rows of up to 1,024 tokens fits the largest machine or GPU here. The plan has the exact
        number.
      </p>
    </details>
  );
}

export function BaseField({ form, bases, tuned, problems }: NewJobProps) {
  const usable = bases.filter((one) => one.status === "ready" && one.accepted);
  return (
    <fieldset class="field" aria-describedby={problems.model ? "field-model-error" : undefined}>
      <legend>Base model</legend>
      {usable.length ? (
        <div class="choices two">
          {usable.map((one) => (
            <label class="choice">
              <input type="radio" name="model" value={one.id} checked={one.id === form.model} required />
              <span>
                <strong class="clip">{one.name}</strong>
                <span class="xs muted">
                  {formatCount(one.parameters)} parameters, {formatCount(one.contextLength)} tokens of context,{" "}
                  <span class="nowrap">{one.license}</span>
                </span>
                <FitLine fit={one.fit} />
              </span>
            </label>
          ))}
        </div>
      ) : (
        <NoBase form={form} bases={bases} />
      )}
      {bases.some((one) => one.status === "installing") && !usable.length ? null : (
        <Installable form={form} bases={bases} />
      )}
      <TunedChoices form={form} tuned={tuned} />
      {problems.model ? (
        <div class="error" id="field-model-error">
          <Icon name="warn" />
          <span>{problems.model}</span>
        </div>
      ) : null}
    </fieldset>
  );
}
