/**
 * Counts the tokens of dataset versions and stores the counts: first an estimate within seconds, then the exact numbers
 * in the background, one full count at a time.
 */
import { existsSync, readFileSync } from "node:fs";
import { and, eq, getTableColumns, isNull } from "drizzle-orm";
import { assetPath } from "../../assets.ts";
import { type Ctx, perContext } from "../../ctx.ts";
import { dataset, datasetTokens, datasetVersion } from "../../db/schema/datasets.ts";
import { baseModel } from "../../db/schema/models.ts";
import { AppError } from "../../errors.ts";
import { randomChars } from "../../lib/ids.ts";
import { localUnit } from "../../objects/local.ts";
import type { Split, VersionRow } from "./model.ts";
import type { TokenStats } from "./rows/report.ts";
import { runInWorker } from "./worker/host.ts";

const SAMPLE_ROWS = 200;
/** The chat template with tools, as the trainer uses it. */
const TOOL_TEMPLATE = "trainer/finetune_trainer/data/tools.jinja";
/** When one row takes longer than this, the chat template does not terminate. */
const SILENCE_MS = 10_000;

interface Counting {
  /** The end of the queue of full counts, which run one at a time. */
  tail: Promise<void>;
  waiting: Set<string>;
  /** Running estimates; requests for the same one share it. */
  estimates: Map<string, Promise<TokenStats>>;
}
const countingOf = perContext((): Counting => ({ tail: Promise.resolve(), waiting: new Set(), estimates: new Map() }));

/** The stored counts, or an estimate from the first rows. Queues a full count when the counts are not exact. */
export async function statsOf(ctx: Ctx, version: VersionRow, baseModelId: string): Promise<TokenStats> {
  const [base] = await ctx.db.select({ status: baseModel.status }).from(baseModel).where(eq(baseModel.id, baseModelId));
  if (base?.status !== "ready")
    throw new AppError(
      "invalid",
      "base_model_not_ready",
      `The base model '${baseModelId.slice(0, 100)}' is not installed, so its tokenizer is not available. Install it on the Models page.`,
      { param: "base_model" },
    );
  const [row] = await ctx.db
    .select()
    .from(datasetTokens)
    .where(and(eq(datasetTokens.versionId, version.id), eq(datasetTokens.baseModelId, baseModelId)));
  const stats = complete(row?.stats) ?? (await estimate(ctx, version, baseModelId));
  if (!stats.exact) countAll(ctx, version, baseModelId);
  return stats;
}

/** Stored statistics; null when an earlier version of this program stored them without sequences. */
const complete = (stored: unknown): TokenStats | null =>
  typeof stored === "object" && stored !== null && "sequences" in stored ? (stored as TokenStats) : null;

function estimate(ctx: Ctx, version: VersionRow, baseModelId: string): Promise<TokenStats> {
  const { estimates } = countingOf(ctx);
  const key = `${version.id} ${baseModelId}`;
  const running = estimates.get(key);
  if (running) return running;
  const made = count(ctx, version, baseModelId, SAMPLE_ROWS)
    .catch((cause) => {
      throw new AppError(
        "unavailable",
        "tokens_not_counted",
        `Tokens could not be counted with the tokenizer of ${baseModelId}: ${cause instanceof Error ? cause.message : String(cause)}`,
        { cause },
      );
    })
    .finally(() => estimates.delete(key));
  estimates.set(key, made);
  return made;
}

function countAll(ctx: Ctx, version: VersionRow, baseModelId: string): void {
  const counting = countingOf(ctx);
  const key = `${version.id} ${baseModelId}`;
  if (counting.waiting.has(key) || ctx.signal.aborted) return;
  counting.waiting.add(key);
  counting.tail = counting.tail
    .then(async () => {
      if (ctx.signal.aborted) return;
      await localUnit(ctx, { folder: "datasets", id: version.id });
      if (!existsSync(splitFile(ctx, version))) return;
      await count(ctx, version, baseModelId, null);
    })
    .catch((cause) => {
      if (!ctx.signal.aborted)
        ctx.log("warn", "tokens could not be counted", { version: version.id, base_model: baseModelId, cause });
    })
    .finally(() => counting.waiting.delete(key))
    .then(() => {});
}

const splitFile = (ctx: Ctx, version: VersionRow, split: Split = "train") =>
  ctx.files.path("datasets", version.id, `${split}.jsonl`);

async function count(ctx: Ctx, version: VersionRow, baseModelId: string, limit: number | null): Promise<TokenStats> {
  const stats = await countWith(ctx, version, baseModelId, limit, null);
  await store(ctx, version, baseModelId, stats);
  return stats;
}

async function countWith(
  ctx: Ctx,
  version: VersionRow,
  baseModelId: string,
  limit: number | null,
  template: string | null,
): Promise<TokenStats> {
  await localUnit(ctx, { folder: "datasets", id: version.id });
  const answer = await runInWorker(
    {
      type: "tokens",
      modelDir: ctx.files.path("models", baseModelId),
      rowsPath: splitFile(ctx, version),
      holdoutPath: splitFile(ctx, version, "holdout"),
      rows: version.trainRows,
      rowType: version.rowType,
      template,
      limit,
    },
    { signal: ctx.signal, silenceMs: SILENCE_MS },
  );
  if (answer.type !== "counted") throw new Error("the worker sent an unexpected answer");
  return answer.stats;
}

/** Statistics with another template than the base model's own, which are not stored. */
const otherStatsOf = perContext(() => new Map<string, Promise<TokenStats>>());
const MAX_OTHER = 200;

/**
 * The same as `statsOf`, with the template for tools in place of the base model's own. Kept in memory only: an estimate
 * first, and the full count from a later call on.
 */
export async function statsWithTools(ctx: Ctx, version: VersionRow, baseModelId: string): Promise<TokenStats> {
  const known = otherStatsOf(ctx);
  const key = `${version.id} ${baseModelId}`;
  const found = known.get(key);
  if (found) return found;
  if (known.size >= MAX_OTHER) known.clear();
  const template = readFileSync(assetPath(TOOL_TEMPLATE), "utf8");
  const first = countWith(ctx, version, baseModelId, SAMPLE_ROWS, template);
  known.set(key, first);
  first.catch(() => known.delete(key));
  const stats = await first;
  if (!stats.exact)
    void countWith(ctx, version, baseModelId, null, template)
      .then((whole) => known.set(key, Promise.resolve(whole)))
      .catch((cause) => {
        if (!ctx.signal.aborted) ctx.log("warn", "tokens could not be counted", { version: version.id, cause });
      });
  return stats;
}

/** Queues full counts for the estimates that were stored before the server stopped. */
export async function resumeCounts(ctx: Ctx): Promise<void> {
  const { report: _, ...columns } = getTableColumns(datasetVersion);
  const rows = await ctx.db
    .select({ version: columns, baseModelId: datasetTokens.baseModelId })
    .from(datasetTokens)
    .innerJoin(datasetVersion, eq(datasetVersion.id, datasetTokens.versionId))
    .innerJoin(dataset, eq(dataset.id, datasetVersion.datasetId))
    .innerJoin(baseModel, eq(baseModel.id, datasetTokens.baseModelId))
    .where(and(eq(datasetTokens.exact, false), isNull(dataset.deletedAt), eq(baseModel.status, "ready")))
    .limit(1000);
  for (const row of rows) countAll(ctx, row.version, row.baseModelId);
}

async function store(ctx: Ctx, version: VersionRow, baseModelId: string, stats: TokenStats): Promise<void> {
  await ctx.write(async (tx) => {
    const [alive] = await tx
      .select({ id: datasetVersion.id })
      .from(datasetVersion)
      .innerJoin(dataset, eq(dataset.id, datasetVersion.datasetId))
      .where(eq(datasetVersion.id, version.id));
    if (!alive) return;
    const known = { exact: stats.exact, stats, createdAt: ctx.clock.now() };
    await tx
      .insert(datasetTokens)
      .values({ id: `tok_${randomChars(20)}`, versionId: version.id, baseModelId, ...known })
      .onConflictDoUpdate({ target: [datasetTokens.versionId, datasetTokens.baseModelId], set: known });
  });
  ctx.bus.emit("dataset.changed", { org: version.org, datasetId: version.datasetId, versionId: version.id });
}
