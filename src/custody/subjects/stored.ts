/** What an organization stored outside its datasets: evaluation answers, samples, logs, responses and completions. */
import { and, asc, eq, gt, inArray, sql } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { textsAt } from "../../data/pii/row-texts.ts";
import { storedAnswer } from "../../db/schema/answers.ts";
import { answer } from "../../db/schema/evaluations.ts";
import { job } from "../../db/schema/jobs.ts";
import { event, logLine } from "../../db/schema/metrics.ts";

const PAGE = 200;

export type StoredKind = "answer" | "sample" | "log_line" | "response" | "completion";

/** A stored thing with its texts. */
interface StoredItem {
  kind: StoredKind;
  /** The job, or the stored answer itself. */
  of: string;
  /** What it is in the job: row and side of an answer, id of an event or a log line. */
  ref: string;
  texts: string[];
}

const textsOf = (value: unknown) => [...textsAt(value)].map(([, text]) => text);

async function* answersOf(ctx: Ctx, jobId: string): AsyncGenerator<StoredItem> {
  let last = 0;
  for (;;) {
    const rows = await ctx.db
      .select({ at: sql<number>`rowid`, answer })
      .from(answer)
      .where(and(eq(answer.jobId, jobId), sql`rowid > ${last}`))
      .orderBy(sql`rowid`)
      .limit(PAGE);
    for (const { at, answer: one } of rows) {
      last = at;
      const texts = [...textsOf(one.prompt), one.expected, one.output, one.gradeError ?? ""];
      yield { kind: "answer", of: jobId, ref: `${one.rowId}/${one.side}`, texts };
    }
    if (rows.length < PAGE) return;
  }
}

/** Events with text of rows. */
const ROW_EVENTS = ["sample", "first_batch"];

async function* samplesOf(ctx: Ctx, jobId: string): AsyncGenerator<StoredItem> {
  let last = -1;
  for (;;) {
    const rows = await ctx.db
      .select({ id: event.id, n: event.n, data: event.data, message: event.message })
      .from(event)
      .where(and(eq(event.jobId, jobId), gt(event.n, last), inArray(event.type, ROW_EVENTS)))
      .orderBy(asc(event.n))
      .limit(PAGE);
    for (const one of rows) {
      last = one.n;
      yield { kind: "sample", of: jobId, ref: one.id, texts: [...textsOf(one.data), one.message] };
    }
    if (rows.length < PAGE) return;
  }
}

async function* logsOf(ctx: Ctx, jobId: string): AsyncGenerator<StoredItem> {
  let last = 0;
  for (;;) {
    const rows = await ctx.db
      .select({ id: logLine.id, message: logLine.message })
      .from(logLine)
      .where(and(eq(logLine.jobId, jobId), gt(logLine.id, last)))
      .orderBy(asc(logLine.id))
      .limit(PAGE);
    for (const one of rows) {
      last = one.id;
      yield { kind: "log_line", of: jobId, ref: String(one.id), texts: [one.message] };
    }
    if (rows.length < PAGE) return;
  }
}

async function* storedAnswersOf(ctx: Ctx, org: string): AsyncGenerator<StoredItem> {
  let last = "";
  for (;;) {
    const rows = await ctx.db
      .select()
      .from(storedAnswer)
      .where(and(eq(storedAnswer.org, org), gt(storedAnswer.id, last)))
      .orderBy(asc(storedAnswer.id))
      .limit(PAGE);
    for (const one of rows) {
      last = one.id;
      const texts = [...textsOf(one.input), ...textsOf(one.answer), ...textsOf(one.metadata)];
      yield { kind: one.kind, of: one.id, ref: "", texts };
    }
    if (rows.length < PAGE) return;
  }
}

/** Everything, a page at a time. */
export async function* storedItems(ctx: Ctx, org: string): AsyncGenerator<StoredItem> {
  yield* storedAnswersOf(ctx, org);
  let last = "";
  for (;;) {
    const jobs = await ctx.db
      .select({ id: job.id })
      .from(job)
      .where(and(eq(job.org, org), gt(job.id, last)))
      .orderBy(asc(job.id))
      .limit(PAGE);
    for (const { id } of jobs) {
      last = id;
      yield* answersOf(ctx, id);
      yield* samplesOf(ctx, id);
      yield* logsOf(ctx, id);
    }
    if (jobs.length < PAGE) return;
  }
}

/** In place of why a grader failed, which can quote the answer. */
const ERASED = "erased for a person";

/** Deletes one thing; of an answer only its texts: its scores stay. */
export async function eraseStored(ctx: Ctx, org: string, { kind, of, ref }: Omit<StoredItem, "texts">): Promise<void> {
  await ctx.write(async (tx) => {
    if (kind === "response" || kind === "completion") {
      await tx.delete(storedAnswer).where(and(eq(storedAnswer.id, of), eq(storedAnswer.org, org)));
      return;
    }
    const [own] = await tx
      .select({ id: job.id })
      .from(job)
      .where(and(eq(job.id, of), eq(job.org, org)));
    if (!own) return;
    if (kind === "sample") await tx.delete(event).where(and(eq(event.jobId, of), eq(event.id, ref)));
    if (kind === "log_line") await tx.delete(logLine).where(and(eq(logLine.jobId, of), eq(logLine.id, Number(ref))));
    if (kind !== "answer") return;
    const [row = "", side = ""] = ref.split("/");
    const gradeError = sql`iif(${answer.gradeError} is null, null, ${ERASED})`;
    await tx
      .update(answer)
      .set({ prompt: [], expected: "", output: "", gradeError })
      .where(and(eq(answer.jobId, of), eq(answer.rowId, Number(row)), sql`${answer.side} = ${side}`));
  });
}
