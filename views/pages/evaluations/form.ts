/** Loads the choices of the new-evaluation page, and turns its form into a request. */
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { listDatasets } from "../../../src/data/datasets/service.ts";
import { findVersion, labelOfVersion, listVersions } from "../../../src/data/datasets/versions.ts";
import { AppError } from "../../../src/errors.ts";
import { planEvaluation } from "../../../src/evaluation/cost.ts";
import { CreateEvaluation } from "../../../src/evaluation/model.ts";
import { getEvaluation } from "../../../src/evaluation/service.ts";
import { listCheckpoints, listModels, resolveModel } from "../../../src/models/tuned/service.ts";
import { graderTemplate } from "../jobs/grader-templates.ts";
import type { EvaluationForm, NewEvaluationProps } from "./new.tsx";

const DATASETS = 100;
/** Checkpoints of the chosen model's run that are offered for a comparison. */
const CHECKPOINTS = 20;

const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
/** The fields of the form, in a query or a body. */
export const FORM_FIELDS = {
  model: text(400),
  against: text(400),
  dataset: text(100),
  split: text(20),
  max_rows: text(10),
  grader: text(100_000),
  name: text(200),
};

/** The fields of an evaluation, for "Evaluate again". */
async function formOf(ctx: Ctx, actor: Actor, id: string): Promise<EvaluationForm> {
  const row = await getEvaluation(ctx, actor, id);
  return {
    model: row.tuned_model ?? row.base_model,
    against: row.against_model ?? "",
    dataset: row.dataset_version_id,
    split: row.split,
    max_rows: "",
    grader: row.grader ? JSON.stringify(row.grader, null, 2) : "",
    name: "",
  };
}

/** Versions of the chosen dataset besides its newest one, and the version that a link names. */
async function versionChoices(ctx: Ctx, actor: Actor, chosen: string): Promise<NewEvaluationProps["datasets"]> {
  const version = chosen.startsWith("dsv_") ? await findVersion(ctx, actor, chosen) : null;
  const datasetId = version?.datasetId ?? chosen;
  if (!datasetId.startsWith("ds_")) return [];
  const versions = await listVersions(ctx, actor, datasetId).catch(() => []);
  const label = versions[0] ? await labelOfVersion(ctx, actor, versions[0].id) : null;
  return versions
    .filter((one) => one.status === "ready" && one.rowType !== "prompt")
    .map((one) => ({
      id: one.id,
      name: `${label?.name ?? "Dataset"}, version ${one.number}`,
      trainRows: one.trainRows,
      validationRows: one.holdoutRows,
    }));
}

/** Fine-tuned models and checkpoints that `model` can be compared with: those of the same base. */
async function othersOf(ctx: Ctx, actor: Actor, model: string, tuned: string[]): Promise<string[]> {
  const base = model.split(":")[1];
  const resolved = model.startsWith("ft:") ? await resolveModel(ctx, actor, model).catch(() => null) : null;
  const points = resolved?.jobId ? await listCheckpoints(ctx, resolved.jobId, { limit: CHECKPOINTS }) : [];
  return [...tuned.filter((id) => id.split(":")[1] === base), ...points.map((point) => point.model)].filter(
    (id) => id !== model,
  );
}

/** What the evaluation of a form costs; null while the form is not complete, or nothing has a price. */
async function costOf(ctx: Ctx, actor: Actor, form: EvaluationForm): Promise<NewEvaluationProps["cost"]> {
  try {
    const cost = await planEvaluation(ctx, actor, evaluationRequest(form));
    return cost.price_lists.length > 0 ? cost : null;
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal") throw error;
    return null; // shown when the form is sent
  }
}

/** The choices for a form. `from`: an evaluation to copy; `start`: a grader template to fill in. */
export async function newEvaluationProps(
  ctx: Ctx,
  actor: Actor,
  given: EvaluationForm & { from?: string; start?: string },
  problems: Record<string, string> = {},
): Promise<NewEvaluationProps> {
  const { from, start, ...asked } = given;
  const form = from ? await formOf(ctx, actor, from) : asked;
  const models = (await listModels(ctx, actor)).map((row) => row.id);
  const tuned = models.filter((id) => id.startsWith("ft:"));
  const bases = models.filter((id) => !id.startsWith("ft:"));
  const datasets = (await listDatasets(ctx, actor, { limit: DATASETS })).flatMap(({ dataset, version }) =>
    version?.status === "ready" && version.rowType !== "prompt"
      ? [
          {
            id: dataset.id,
            name: dataset.name,
            trainRows: version.trainRows,
            validationRows: version.holdoutRows,
          },
        ]
      : [],
  );
  const model = form.model || (tuned[0] ?? bases[0] ?? "");
  const chosen = form.dataset || (datasets[0]?.id ?? "");
  const choices = [...datasets, ...(await versionChoices(ctx, actor, chosen))];
  const data = choices.find((one) => one.id === chosen);
  const filled = {
    ...form,
    model,
    dataset: chosen,
    // Without validation rows, all rows are answered.
    split: form.split || (data?.validationRows === 0 ? "all" : "holdout"),
    grader: start ? graderTemplate(start, "expected") : form.grader,
  };
  return {
    form: filled,
    cost: await costOf(ctx, actor, filled),
    bases,
    tuned,
    others: await othersOf(ctx, actor, model, tuned),
    datasets: choices,
    problems,
  };
}

/** The request of a form. @throws AppError with the field in `param` */
export function evaluationRequest(form: EvaluationForm) {
  const invalid = (param: string, message: string) => new AppError("invalid", "invalid_value", message, { param });
  let grader: unknown;
  try {
    grader = form.grader.trim() ? JSON.parse(form.grader) : undefined;
  } catch (error) {
    throw invalid("grader", `This is not valid JSON: ${error instanceof Error ? error.message : error}`);
  }
  const parsed = v.safeParse(CreateEvaluation, {
    model: form.model,
    dataset: form.dataset,
    split: form.split || "holdout",
    ...(form.against && form.model.startsWith("ft:") ? { against: form.against } : {}),
    ...(form.max_rows ? { max_rows: Number(form.max_rows) } : {}),
    ...(grader === undefined ? {} : { grader }),
    ...(form.name.trim() ? { name: form.name } : {}),
  });
  if (!parsed.success) {
    const [issue] = parsed.issues;
    const path = v.getDotPath(issue) ?? "";
    const unknown = issue.expected === "never" ? `Unknown parameter: '${path}'.` : issue.message;
    throw invalid(path, unknown);
  }
  const { output } = parsed;
  if (!("model" in output)) throw invalid("model", "Choose a model.");
  const { model, dataset, split, against, max_rows: maxRows } = output;
  return { model, versionId: dataset, rows: split, against, maxRows, grader: output.grader, name: output.name };
}
