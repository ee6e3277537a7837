/** Checks a dataset version: its hash against removed content, and its rows against the rules. */
import { and, eq, isNull } from "drizzle-orm";
import { type Ctx, systemActor } from "../ctx.ts";
import { readRows, splitPath } from "../data/datasets/rows.ts";
import { type Matched, partsOf } from "../data/validation/pass/match-rows.ts";
import type { NumberedRow } from "../data/validation/rows/types.ts";
import { runInWorker } from "../data/validation/worker/host.ts";
import { dataset, datasetVersion } from "../db/schema/datasets.ts";
import { restriction } from "../db/schema/moderation.ts";
import { localUnit } from "../objects/local.ts";
import { askingRules, findingOf, judge, type Located, matchRulesOf, rulesFor } from "./apply.ts";
import type { CheckRow, Finding, RuleRow } from "./model.ts";

const SILENCE_MS = 120_000;
/** Findings of each rule that a case shows. */
const KEEP = 20;
/** Rows that guard models and graders read, from the beginning of each split. */
const ASKED_ROWS = 200;
const SPLITS = ["train", "holdout"] as const;

/** What a check found. */
export interface Found {
  findings: Finding[];
  flagged: number;
  /** What is flagged must not be used until it is decided. */
  hold: boolean;
  /** Rows or prompts looked at. */
  done: number;
}

/** The version with its dataset; null once it was deleted. */
export async function versionFor(ctx: Ctx, id: string) {
  const [row] = await ctx.db
    .select({
      id: datasetVersion.id,
      org: datasetVersion.org,
      number: datasetVersion.number,
      hash: datasetVersion.hash,
      rows: datasetVersion.rows,
      datasetId: dataset.id,
      name: dataset.name,
      createdBy: dataset.createdBy,
    })
    .from(datasetVersion)
    .innerJoin(dataset, eq(dataset.id, datasetVersion.datasetId))
    .where(and(eq(datasetVersion.id, id), eq(datasetVersion.status, "ready"), isNull(dataset.deletedAt)))
    .limit(1);
  return row ?? null;
}

/** The finding for content that a reviewer removed before. */
async function removedBefore(ctx: Ctx, hash: string | null): Promise<Finding[]> {
  if (!hash) return [];
  const [gone] = await ctx.db
    .select()
    .from(restriction)
    .where(and(eq(restriction.hash, hash), eq(restriction.kind, "removed")))
    .limit(1);
  if (!gone) return [];
  return [
    {
      rule: null,
      rule_name: "Removed before",
      rule_version: null,
      category: "other",
      score: 1,
      count: 1,
      split: null,
      row: null,
      part: "hash",
      prompt: null,
      excerpt: { before: "", match: hash, after: ` is the content of ${gone.name}, which was removed: ${gone.reason}` },
    },
  ];
}

async function match(
  ctx: Ctx,
  id: string,
  rules: RuleRow[],
  { signal, onProgress }: { signal: AbortSignal; onProgress: (rows: number) => void },
): Promise<Matched> {
  await localUnit(ctx, { folder: "datasets", id });
  const answer = await runInWorker(
    {
      type: "match",
      files: SPLITS.map((split) => ({ split, path: splitPath(ctx, id, split) })),
      rules: matchRulesOf(rules),
      keep: KEEP,
    },
    {
      signal,
      silenceMs: SILENCE_MS,
      onMessage: (message) => message.type === "progress" && onProgress(message.done),
    },
  );
  if (answer.type !== "matched") throw new Error("the worker sent an unexpected answer");
  return answer.matched;
}

/** The texts that guard models and graders read: whole rows, from the beginning. */
async function askedTexts(ctx: Ctx, org: string, id: string): Promise<Located[]> {
  const texts: Located[] = [];
  for (const split of SPLITS) {
    const { rows } = await readRows(ctx, systemActor(org), id, { split, after: -1, limit: ASKED_ROWS });
    for (const row of rows as NumberedRow[]) {
      const text = [...partsOf(row)].map(([, part]) => part).join("\n");
      texts.push({ text, split, row: row.id, part: "row", prompt: null });
    }
  }
  return texts;
}

/** Looks at all rows. @throws WorkerFailure, AppError when a rule cannot be applied */
export async function checkVersion(
  ctx: Ctx,
  check: CheckRow,
  options: { signal: AbortSignal; onProgress: (rows: number) => void },
): Promise<Found> {
  const version = await versionFor(ctx, check.subject);
  if (!version) return { findings: [], flagged: 0, hold: false, done: 0 };
  const rules = await rulesFor(ctx, "datasets");
  const before = await removedBefore(ctx, version.hash);
  const byId = new Map(rules.map((rule) => [rule.id, rule]));
  const matched =
    matchRulesOf(rules).length > 0
      ? await match(ctx, version.id, rules, options)
      : { rows: 0, flagged: 0, counts: {} as Record<string, number>, matches: [] };
  const texts = askingRules(rules).length > 0 ? await askedTexts(ctx, version.org, version.id) : [];
  const judged = await judge(ctx, rules, texts, { keep: KEEP, signal: options.signal });
  const findings = [
    ...before,
    ...matched.matches.flatMap(({ rule: id, score, excerpt, ...at }) => {
      const rule = byId.get(id);
      if (!rule) return [];
      return [findingOf(rule, { ...at, prompt: null }, { score, count: matched.counts[id] ?? 1, excerpt })];
    }),
    ...judged.findings,
  ];
  const holds = (id: string | null) => id === null || byId.get(id)?.action === "hold";
  return {
    findings,
    flagged: before.length ? version.rows : Math.max(matched.flagged, judged.flagged.size),
    hold: findings.some(({ rule }) => holds(rule)),
    done: Math.max(matched.rows, texts.length),
  };
}
