/** What is known about the data of a request before it starts: with the base model, and as a validation file. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { sql } from "drizzle-orm";
import type { BaseModelRef } from "../../contract/spec.ts";
import { type Actor, type Ctx, perContext } from "../../ctx.ts";
import { overlapOf } from "../../data/datasets/overlap.ts";
import { tokenStats } from "../../data/datasets/rows.ts";
import type { VersionRow } from "../../data/validation/model.ts";
import type { Overlap, Report, TokenStats } from "../../data/validation/rows/report.ts";
import { datasetVersion } from "../../db/schema/datasets.ts";
import { CATALOGUE, showsTools } from "../../models/base/catalogue.ts";
import { baseModelDir, listCatalogue } from "../../models/base/service.ts";
import type { TrainRequest } from "./request.ts";

/** How long a plan waits for the comparison of training and validation rows. */
const OVERLAP_WAIT_MS = 2000;

export interface DataFacts {
  /** Token counts and findings with the base model; null while they are not counted. */
  stats: TokenStats | null;
  /** The same for the rows of a validation file. */
  validationStats: TokenStats | null;
  /** Rows labeled good and bad; null for other row types. */
  labels: Report["labels"] | null;
  /** Validation rows with the prompt of a training row; null while they are not compared. */
  overlap: Overlap | null;
  /** A base model whose template shows tools; null when none is needed. */
  toolBase: { id: string; installed: boolean } | null;
  /** Whether the base model can be trained with the template for tools. */
  chatml: boolean;
}

async function labelsOf(ctx: Ctx, { id, rowType }: VersionRow): Promise<DataFacts["labels"]> {
  if (rowType !== "unpaired") return null;
  const [row] = await ctx.db
    .select({ labels: sql<string | null>`json_extract(${datasetVersion.report}, '$.labels')` })
    .from(datasetVersion)
    .where(sql`${datasetVersion.id} = ${id}`);
  return row?.labels ? (JSON.parse(row.labels) as NonNullable<Report["labels"]>) : null;
}

const TOOL_FINDINGS = new Set(["tool_calls_not_shown", "tool_result_not_shown", "tools_not_shown"]);

/** Whether a template hides tools of the rows. */
const hidesTools = (stats: TokenStats | null): boolean =>
  stats?.findings.some(({ code }) => TOOL_FINDINGS.has(code)) ?? false;

/** A base model whose template shows tools: an installed one if there is one, else the smallest of the catalog. */
async function toolBaseOf(ctx: Ctx, actor: Actor): Promise<DataFacts["toolBase"]> {
  const able = new Set(CATALOGUE.filter(showsTools).map(({ id }) => id));
  const usable = (await listCatalogue(ctx, actor)).filter(({ id }) => able.has(id));
  const ready = usable.find(({ status }) => status === "ready");
  const [smallest] = [...CATALOGUE].filter(showsTools).sort((a, b) => a.parameters - b.parameters);
  if (ready) return { id: ready.id, installed: true };
  return smallest ? { id: smallest.id, installed: false } : null;
}

/** Training rows that the template refuses. @param whole all rows of the data are training rows */
export const refusedRows = (stats: TokenStats, whole: boolean): number =>
  whole ? (stats.findings.find(({ code }) => code === "template_refuses")?.count ?? 0) : stats.refused_rows;

/** Training rows that the request leaves out, because the chat template refuses them. */
export const leftOut = ({ on_template_error }: TrainRequest, checks: DataFacts | null, whole: boolean): number =>
  on_template_error === "leave_out" && checks?.stats ? refusedRows(checks.stats, whole) : 0;

/** Base models whose tokenizer was looked at, by id and content. */
const chatmlOf = perContext(() => new Map<string, boolean>());

/** Whether a base model has the tokens of ChatML, as the trainer requires for the template with tools. */
function isChatml(ctx: Ctx, { id, hash }: BaseModelRef): boolean {
  const known = chatmlOf(ctx);
  const key = `${id} ${hash}`;
  let found = known.get(key);
  if (found === undefined) {
    const path = join(baseModelDir(ctx, id), "tokenizer.json");
    const text = existsSync(path) ? readFileSync(path, "utf8") : "";
    found = text.includes('"<|im_start|>"') && text.includes('"<|im_end|>"');
    known.set(key, found);
  }
  return found;
}

/** What the facts are about. */
interface Of {
  data: VersionRow;
  validation: VersionRow | null;
  /** The base model whose tokenizer and template are used. */
  base: BaseModelRef;
  chatTemplate: "default" | "tools";
}

/** Looks up what is known about ready data. */
export async function dataFactsOf(
  ctx: Ctx,
  actor: Actor,
  { data, validation, base, chatTemplate }: Of,
): Promise<DataFacts> {
  const chatml = isChatml(ctx, base);
  const template = chatml ? chatTemplate : "default";
  const counted = (version: VersionRow | null) =>
    version ? tokenStats(ctx, actor, version.id, base.id, template).catch(() => null) : null;
  const [stats, validationStats, labels, overlap] = await Promise.all([
    counted(data),
    counted(validation),
    labelsOf(ctx, data),
    validation?.hash === data.hash ? null : overlapOf(ctx, { data, validation }, OVERLAP_WAIT_MS),
  ]);
  const toolBase = hidesTools(stats) ? await toolBaseOf(ctx, actor) : null;
  return { stats, validationStats, labels, overlap, toolBase, chatml };
}
