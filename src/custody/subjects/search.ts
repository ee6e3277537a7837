/** One search for a person: in rows of all versions, in files without rows, and in everything else that is stored. */
import { appendFile, mkdir, rename, rm } from "node:fs/promises";
import { and, asc, eq, isNull, sql } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import type { Hit, PersonTask } from "../../data/pii/find-person.ts";
import { linesOf } from "../../data/pii/lines.ts";
import { contextOf, folded, isAbout, type Wanted } from "../../data/pii/person-match.ts";
import { INDEX_EVERY, writeIndex } from "../../data/storage/index-file.ts";
import { runInWorker, WorkerFailure } from "../../data/validation/worker/host.ts";
import type { SubjectResult } from "../../db/schema/archives.ts";
import { dataset, datasetVersion, file } from "../../db/schema/datasets.ts";
import { keptUnits, localUnit } from "../../objects/local.ts";
import type { SubjectRow } from "./model.ts";
import { storedItems } from "./stored.ts";
import { trainedOn } from "./trained.ts";

const SILENCE_MS = 300_000;
/** Hits that are written together. */
const BATCH = 200;
/** Files that are read as lines of text. */
const TEXT = /\.(jsonl|ndjson|json|csv|tsv|txt|md)$/i;

/** File of the hits of a request, and its index. */
export const hitsPath = (ctx: Ctx, id: string) => ctx.files.path("subjects", id, "hits.jsonl");
export const hitsIndexPath = (ctx: Ctx, id: string) => ctx.files.path("subjects", id, "hits.idx");

/** Deletes the files of a request. */
export const removeHits = (ctx: Ctx, id: string) =>
  rm(ctx.files.path("subjects", id), { recursive: true, force: true });

export const wantedOf = (terms: string[], match: "any" | "all"): Wanted => ({
  terms: [...new Set(terms.map((term) => folded(term.trim())))],
  match,
});

async function versionsOf(ctx: Ctx, org: string) {
  const rows = await ctx.db
    .select({
      id: datasetVersion.id,
      datasetId: datasetVersion.datasetId,
      name: dataset.name,
      number: datasetVersion.number,
      rows: datasetVersion.rows,
      newest: sql<number>`${datasetVersion.number} = (select max(v.number) from dataset_version v where v.dataset_id = ${datasetVersion.datasetId})`,
    })
    .from(datasetVersion)
    .innerJoin(dataset, eq(dataset.id, datasetVersion.datasetId))
    .where(and(eq(datasetVersion.org, org), eq(datasetVersion.status, "ready"), isNull(dataset.deletedAt)))
    .orderBy(asc(datasetVersion.datasetId), asc(datasetVersion.number));
  const kept = await keptUnits(ctx, "datasets", idsOf(rows));
  return rows.filter(({ id }) => kept.has(id));
}

const idsOf = (rows: readonly { id: string }[]) => rows.map(({ id }) => id);

/** Files without a ready version: their content is nowhere else. */
async function looseFiles(ctx: Ctx, org: string) {
  const used = sql`exists (select 1 from dataset_version v join dataset d on d.id = v.dataset_id
    where v.file_id = ${file.id} and v.status = 'ready' and d.deleted_at is null)`;
  const rows = await ctx.db
    .select({ id: file.id, filename: file.filename })
    .from(file)
    .where(and(eq(file.org, org), isNull(file.deletedAt), sql`not ${used}`))
    .orderBy(asc(file.id));
  const kept = await keptUnits(ctx, "files", idsOf(rows));
  return rows.filter(({ id }) => kept.has(id));
}

const NONE: SubjectResult["stored"] = { answers: 0, samples: 0, log_lines: 0, responses: 0, completions: 0 };
const COUNTED = {
  answer: "answers",
  sample: "samples",
  log_line: "log_lines",
  response: "responses",
  completion: "completions",
} as const;

/** Searches what is stored in the database, and appends its hits. */
async function searchStored(ctx: Ctx, org: string, wanted: Wanted, out: string, before: number) {
  const stored = { ...NONE };
  let hits = before;
  let lines: string[] = [];
  const flush = async () => {
    await appendFile(out, lines.join(""));
    lines = [];
  };
  for await (const { kind, of, ref, texts } of storedItems(ctx, org)) {
    ctx.signal.throwIfAborted();
    if (!isAbout(texts, wanted)) continue;
    stored[COUNTED[kind]]++;
    const hit: Hit = { id: ++hits, kind, of, ref, context: contextOf(texts, wanted) };
    lines.push(`${JSON.stringify(hit)}\n`);
    if (lines.length >= BATCH) await flush();
  }
  await flush();
  return { stored, hits };
}

async function writeHitsIndex(path: string, indexPath: string): Promise<void> {
  const entries: number[] = [];
  let offset = 0;
  let n = 0;
  for await (const line of linesOf(path)) {
    if (n++ % INDEX_EVERY === 0) entries.push(n, offset);
    offset += Buffer.byteLength(line) + 1;
  }
  writeIndex(indexPath, entries);
}

/**
 * Searches everything, and writes the hits.
 * @param progress called with the rows read, and all rows
 */
export async function search(
  ctx: Ctx,
  row: SubjectRow,
  wanted: Wanted,
  progress: (done: number, total: number) => void,
): Promise<{ result: SubjectResult; hits: number; rows: number }> {
  const versions = await versionsOf(ctx, row.org);
  const files = await looseFiles(ctx, row.org);
  const [readable, others] = [
    files.filter((one) => TEXT.test(one.filename)),
    files.filter((one) => !TEXT.test(one.filename)),
  ];
  const rows = versions.reduce((sum, one) => sum + one.rows, 0);
  const out = `${hitsPath(ctx, row.id)}.part`;
  await mkdir(ctx.files.path("subjects", row.id), { recursive: true, mode: 0o700 });
  await rm(out, { force: true });
  for (const { id } of versions) await localUnit(ctx, { folder: "datasets", id });
  for (const { id } of readable) await localUnit(ctx, { folder: "files", id });
  const places: PersonTask["places"] = [
    ...versions.map(({ id }) => ({ kind: "row" as const, id, path: ctx.files.path("datasets", id) })),
    ...readable.map(({ id }) => ({ kind: "file_line" as const, id, path: ctx.files.path("files", id) })),
  ];
  const answer = await runInWorker(
    { type: "person", wanted, places, out },
    {
      signal: ctx.signal,
      silenceMs: SILENCE_MS,
      onMessage: (message) => message.type === "progress" && progress(message.done, rows),
    },
  );
  if (answer.type !== "searched") throw new WorkerFailure("the worker sent an unexpected answer", null);
  const counts = new Map(answer.found.found.map((one) => [one.id, one.rows]));
  const { stored, hits } = await searchStored(ctx, row.org, wanted, out, answer.found.hits);
  const found = versions.filter(({ id }) => counts.has(id));
  await writeHitsIndex(out, hitsIndexPath(ctx, row.id));
  await rename(out, hitsPath(ctx, row.id));
  const result: SubjectResult = {
    versions: found.map(({ id, datasetId, name, number, newest }) => ({
      id,
      dataset_id: datasetId,
      dataset: name,
      number,
      rows: counts.get(id) ?? 0,
      newest: Boolean(newest),
    })),
    files: readable
      .filter(({ id }) => counts.has(id))
      .map(({ id, filename }) => ({ id, filename, lines: counts.get(id) ?? 0 })),
    ...(await trainedOn(
      ctx,
      row.org,
      found.map(({ id }) => id),
    )),
    stored,
    not_searched: others,
  };
  return { result, hits, rows };
}
