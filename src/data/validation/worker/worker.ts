/**
 * The worker thread for one task: validate a file, count tokens, compare two splits, test chat templates, look for
 * personal data or a person, or match the rules of moderation. It is a separate entry point of the binary, in addition
 * to main.ts.
 */
import type { PersonOutcome, PersonTask } from "../../pii/find-person.ts";
import type { PiiOutcome, PiiTask } from "../../pii/scan-rows.ts";
import type { Matched, MatchTask } from "../pass/match-rows.ts";
import type { OverlapTask } from "../pass/overlap.ts";
import type { ValidateOutcome, ValidateTask } from "../pass/task.ts";
import type { TokenTask } from "../pass/tokens.ts";
import type { Overlap, TokenStats } from "../rows/report.ts";
import type { TemplateTask } from "./template-check.ts";

declare const self: Worker;

export type WorkerTask =
  | ({ type: "validate" } & ValidateTask)
  | ({ type: "tokens" } & TokenTask)
  | ({ type: "overlap" } & OverlapTask)
  | ({ type: "match" } & MatchTask)
  | ({ type: "templates" } & TemplateTask)
  | ({ type: "pii" } & PiiTask)
  | ({ type: "person" } & PersonTask);
export type WorkerAnswer =
  /** Bytes read, rows counted or compared, or conversations rendered, depending on the task. */
  | { type: "progress"; done: number }
  | { type: "validated"; outcome: ValidateOutcome }
  | { type: "counted"; stats: TokenStats }
  | { type: "compared"; overlap: Overlap }
  | { type: "matched"; matched: Matched }
  | { type: "rendered"; problem: string | null }
  | { type: "scanned"; found: PiiOutcome }
  | { type: "searched"; found: PersonOutcome }
  | { type: "failed"; code: string | null; message: string };

const PROGRESS_MS = 250;

/** Each task loads only what it needs: the process starts for one task. */
async function done(task: WorkerTask, progress: (done: number) => void): Promise<WorkerAnswer> {
  switch (task.type) {
    case "validate":
      return { type: "validated", outcome: await (await import("../pass/validate.ts")).validateAny(task, progress) };
    case "tokens":
      return { type: "counted", stats: (await import("../pass/tokens.ts")).countTokens(task, progress) };
    case "overlap":
      return { type: "compared", overlap: (await import("../pass/overlap.ts")).countOverlap(task, progress) };
    case "match":
      return { type: "matched", matched: (await import("../pass/match-rows.ts")).matchRows(task, progress) };
    case "templates":
      return { type: "rendered", problem: (await import("./template-check.ts")).checkTemplates(task, progress) };
    case "pii":
      return { type: "scanned", found: await (await import("../../pii/scan-rows.ts")).scanRows(task, progress) };
    case "person":
      return { type: "searched", found: await (await import("../../pii/find-person.ts")).findPerson(task, progress) };
  }
}

async function run(task: WorkerTask) {
  const answer = (message: WorkerAnswer) => self.postMessage(message);
  try {
    let last = 0;
    const progress = (done: number) => {
      const now = performance.now();
      if (now - last < PROGRESS_MS) return;
      last = now;
      answer({ type: "progress", done });
    };
    answer(await done(task, progress));
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : null;
    answer({ type: "failed", code, message: error instanceof Error ? error.message : String(error) });
  }
}

self.onmessage = (event: MessageEvent<WorkerTask>) => void run(event.data);
