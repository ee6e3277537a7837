/** Refusals and warnings about data that depend on the base model, the method and the validation file. */
import { specialTokensOf } from "../../contract/data-settings.ts";
import type { TrainSpec } from "../../contract/spec.ts";
import type { VersionRow } from "../../data/validation/model.ts";
import type { Finding, TokenStats } from "../../data/validation/rows/report.ts";
import { AppError } from "../../errors.ts";
import { plural } from "../../lib/text/format.ts";
import { type DataFacts, refusedRows } from "./data-facts.ts";
import { completionTokens } from "./method-defaults.ts";

/** The resolved run and its data. */
interface Checked {
  spec: TrainSpec;
  data: VersionRow;
  validation: VersionRow | null;
  facts: DataFacts;
}

function refuse(code: string, message: string, param: string): never {
  throw new AppError("invalid", code, message, { param });
}

const rowsIn = ({ trainRows, holdoutRows }: VersionRow) => trainRows + holdoutRows;

/** Whether only answers are in the loss, so that rows without a shown answer teach nothing. */
function learnsAnswersOnly({ method }: TrainSpec): boolean {
  return method.type === "sft" ? method.loss_on === "completion" : !["pretrain", "grpo"].includes(method.type);
}

const findingOf = (stats: TokenStats | null, code: string) => stats?.findings.find((one) => one.code === code);

const countOf = (stats: TokenStats, code: string): number => findingOf(stats, code)?.count ?? 0;

/** The first rows of a finding, such as `row 17 (messages[2]): roles must alternate; row 20 (…); and 3 more`. */
function firstRows({ samples, count }: Finding, most = 1): string {
  const named = samples.slice(0, most).map(({ row, path, detail }) => `row ${row} (${path})${detail && `: ${detail}`}`);
  return `${named.join("; ")}${count > named.length ? ` and ${count - named.length} more` : ""}`;
}

function refuseTemplate({ spec, data, validation, facts: { stats } }: Checked): void {
  const refused = findingOf(stats, "template_refuses");
  if (!refused || !stats) return;
  const whole = validation !== null;
  const rows = whole ? rowsIn(data) : data.trainRows;
  const count = refusedRows(stats, whole);
  const template = `The chat template of ${spec.base_model.id}`;
  const leaves = spec.data?.on_template_error === "leave_out";
  if (count === 0 || (leaves && count < rows)) return;
  if (leaves)
    refuse("no_training_rows", `${template} refuses all ${plural(rows, "row")}: ${firstRows(refused)}.`, "model");
  refuse(
    "template_refuses_rows",
    `${template} refuses ${count} of ${plural(rows, "row")}: ${firstRows(refused, 3)}. Fix these rows, choose another base model, or leave them out (on_template_error: leave_out).`,
    "training_file",
  );
}

function refuseChatTemplate({ spec, facts: { chatml } }: Checked): void {
  if (spec.data?.chat_template !== "tools" || chatml) return;
  refuse(
    "invalid_value",
    `The chat template with tools is for base models of the ChatML family, and ${spec.base_model.id} is not one. Leave chat_template out, or choose another base model.`,
    "chat_template",
  );
}

/** The sentence that says how tools can be shown. */
function toolAdvice({ spec, facts: { toolBase, chatml } }: Checked): string {
  if (!toolBase) return "Choose a base model whose template shows the answers.";
  const other = `a base model whose template shows tools, such as ${toolBase.id}${toolBase.installed ? "" : " (not installed yet)"}`;
  return chatml && spec.data?.chat_template !== "tools"
    ? `Choose the chat template with tools (chat_template: tools), or ${other}.`
    : `Choose ${other}.`;
}

function refuseSilent(checked: Checked): void {
  const {
    spec,
    data,
    facts: { stats },
  } = checked;
  if (!learnsAnswersOnly(spec) || !stats?.exact) return;
  const failed = ["template_refuses", "not_rendered"].reduce((sum, code) => sum + countOf(stats, code), 0);
  const rendered = rowsIn(data) - failed;
  if (rendered === 0 || countOf(stats, "nothing_learned") < rendered) return;
  refuse(
    "nothing_to_learn",
    `The chat template of ${spec.base_model.id} shows nothing of the answers: in all ${plural(rendered, "row")}, nothing would be in the loss. ${toolAdvice(checked)}`,
    "model",
  );
}

function refuseLength({ spec, facts: { stats } }: Checked): void {
  if (!stats?.exact) return;
  const { max_length: length } = spec.hyperparameters;
  const { method } = spec;
  if (method.type === "grpo") {
    const left = length - completionTokens(method);
    if (stats.max > 0 && stats.min > left)
      refuse(
        "nothing_within_length",
        `Every prompt is longer than ${left} tokens, the max sequence length (${length}) without the completion (${method.max_completion_length}), so no row is left. The shortest prompt has ${stats.min} tokens.`,
        "max_length",
      );
    return;
  }
  const { first } = stats.answers;
  if (!learnsAnswersOnly(spec) || first === null || length >= first) return;
  refuse(
    "nothing_within_length",
    `No answer begins within ${length} tokens, so no row is left to train on. Set the max sequence length to more than ${first}.`,
    "max_length",
  );
}

function refuseLabels({ spec, facts: { labels } }: Checked): void {
  if (spec.method.type !== "kto" || !labels || (labels.good > 0 && labels.bad > 0)) return;
  const [only, missing] = labels.good > 0 ? ["good", "bad"] : ["bad", "good"];
  refuse(
    "one_label",
    `All ${plural(labels.good + labels.bad, "row")} are labeled ${only}. KTO learns from the difference: add rows labeled ${missing}.`,
    "training_file",
  );
}

/** A sentence when validation rows are known from training; null otherwise. */
function overlapWarning({ data, validation, facts: { overlap } }: Checked): string | null {
  const same =
    validation && (validation.hash === data.hash || (validation.fileId !== null && validation.fileId === data.fileId));
  if (same)
    return "The validation file has the same rows as the training file: the eval loss will not show how the model does on new rows.";
  if (!overlap || overlap.known + overlap.near === 0) return null;
  const { rows, known, near, pairs } = overlap;
  const kinds = [
    known > 0 && `${known} have the same prompt`,
    near > 0 && `${near} have nearly the same prompt`,
  ].filter(Boolean);
  const first = pairs.slice(0, 3).map(({ row, train_row }) => `row ${row} like training row ${train_row}`);
  const more = known + near > first.length ? ", …" : "";
  return `Of ${plural(rows, "validation row")}, ${kinds.join(" and ")} as a training row (${first.join(", ")}${more}), so eval loss and comparison look better than they are.`;
}

/** Throws when a run would fail, or learn nothing, because of its data. @throws AppError naming the field */
export function refuseData(checked: Checked): void {
  refuseLabels(checked);
  refuseChatTemplate(checked);
  refuseTemplate(checked);
  refuseSilent(checked);
  refuseLength(checked);
}

/** Findings about tools, which share a warning, and what each is about. */
const TOOLS: Record<string, string> = {
  tool_calls_not_shown: "tool calls",
  tool_result_not_shown: "tool results",
  tools_not_shown: "tool definitions",
};

/** What happens to special tokens in texts, by the option. */
const SPECIAL = {
  escape: "They are read as plain text.",
  strip: "They are removed.",
  keep: "They end or begin turns in the middle of the text: choose to read them as plain text, or to remove them (special_tokens).",
};

/** Findings that a warning of their own covers, or that are no problem. */
const QUIET = new Set(["template_refuses", "nothing_learned", "name_not_shown"]);

function lostAnswers({ spec, facts: { stats } }: Checked): string | null {
  if (!stats || !learnsAnswersOnly(spec)) return null;
  const lost = stats.answers.lost[String(spec.hyperparameters.max_length)] ?? 0;
  return lost > 0
    ? `In ${lost} of ${plural(stats.rows, "row")}, the answer begins after ${spec.hyperparameters.max_length} tokens: these rows are left out.`
    : null;
}

/** Sentences about rows that the template refuses and that are left out. */
function refusedWarnings({ spec, data, validation, facts }: Checked): string[] {
  const { stats, validationStats } = facts;
  const refused = findingOf(stats, "template_refuses");
  const template = `The chat template of ${spec.base_model.id}`;
  const out: string[] = [];
  if (refused && stats) {
    const count = refusedRows(stats, validation !== null);
    const [rows, left] = count ? [count, "left out of the training"] : [refused.count, "left out of the validation"];
    out.push(`${template} refuses ${rows} of ${plural(rowsIn(data), "row")}, ${left}: ${firstRows(refused)}.`);
  }
  const other = findingOf(validationStats, "template_refuses");
  if (other && validation)
    out.push(
      `${template} refuses ${other.count} of ${plural(rowsIn(validation), "validation row")}, left out of the validation: ${firstRows(other)}.`,
    );
  return out;
}

/** Warnings about the data; none prevents the job. */
export function dataWarnings(checked: Checked): string[] {
  const { spec, data, facts } = checked;
  const { stats } = facts;
  const base = spec.base_model.id;
  const warnings: string[] = [];
  const tools = (stats?.findings ?? []).filter(({ code }) => code in TOOLS);
  const silent = learnsAnswersOnly(spec) ? findingOf(stats, "nothing_learned") : undefined;
  if (silent)
    warnings.push(
      `In ${silent.count} of ${plural(rowsIn(data), "row")}, the chat template of ${base} shows nothing of the answer, which is not learned: ${firstRows(silent)}.${tools.length ? "" : ` ${toolAdvice(checked)}`}`,
    );
  const rows = plural(rowsIn(data), "row");
  const [first] = tools;
  if (first) {
    const parts = tools.map(({ code, count }) => `${TOOLS[code]} (${count} of ${rows})`);
    warnings.push(
      `The chat template of ${base} does not show ${parts.join(", ")}: ${firstRows(first)}. ${toolAdvice(checked)}`,
    );
  }
  for (const finding of stats?.findings ?? [])
    if (!(finding.code in TOOLS) && !QUIET.has(finding.code))
      warnings.push(
        `${finding.message} ${finding.count} of ${rows}: ${firstRows(finding)}. ${finding.code === "special_tokens" ? SPECIAL[specialTokensOf(spec)] : finding.advice}`,
      );
  warnings.push(...refusedWarnings(checked));
  const lost = lostAnswers(checked);
  if (lost) warnings.push(lost);
  const known = overlapWarning(checked);
  if (known) warnings.push(known);
  return warnings;
}
