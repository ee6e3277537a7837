/**
 * The worker thread for one task: validate a file, count tokens, compare two splits, test chat templates, look for
 * personal data or a person, or match the rules of moderation. It is a separate entry point of the binary, in addition
 * to main.ts.
 */
import { findPerson, type PersonOutcome, type PersonTask } from "../../pii/find-person.ts";
import { type PiiOutcome, type PiiTask, scanRows } from "../../pii/scan-rows.ts";
import { type Matched, type MatchTask, matchRows } from "../pass/match-rows.ts";
import { countOverlap, type OverlapTask } from "../pass/overlap.ts";
import type { ValidateOutcome, ValidateTask } from "../pass/task.ts";
import { countTokens, type TokenTask } from "../pass/tokens.ts";
import { validateAny } from "../pass/validate.ts";
import type { Overlap, TokenStats } from "../rows/report.ts";
import { checkTemplates, type TemplateTask } from "./template-check.ts";

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
    if (task.type === "validate") answer({ type: "validated", outcome: await validateAny(task, progress) });
    else if (task.type === "templates") answer({ type: "rendered", problem: checkTemplates(task, progress) });
    else if (task.type === "match") answer({ type: "matched", matched: matchRows(task, progress) });
    else if (task.type === "overlap") answer({ type: "compared", overlap: countOverlap(task, progress) });
    else if (task.type === "pii") answer({ type: "scanned", found: await scanRows(task, progress) });
    else if (task.type === "person") answer({ type: "searched", found: await findPerson(task, progress) });
    else answer({ type: "counted", stats: countTokens(task, progress) });
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : null;
    answer({ type: "failed", code, message: error instanceof Error ? error.message : String(error) });
  }
}

self.onmessage = (event: MessageEvent<WorkerTask>) => void run(event.data);
