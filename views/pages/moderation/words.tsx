/** The words of moderation on its pages, and a match in its context. */

import { capitalize, formatInteger, plural } from "../../../src/lib/text/format.ts";
import type { CaseView, Decision, EntryView, Finding } from "../../../src/moderation/model.ts";
import { Time } from "../../parts/value.tsx";

export const DECISION_WORDS: Record<Decision, string> = {
  approve: "Approve",
  restrict: "Restrict",
  remove: "Remove",
  warn: "Warn",
  suspend_user: "Suspend the user",
  suspend_organization: "Suspend the team",
};
/** What a decision does, as the form of a case says it. */
export const DECISION_HINTS: Record<Decision, string> = {
  approve: "Nothing is wrong, and it can be used.",
  restrict: "It stays, but nobody can train on it or deploy it.",
  remove: "Its content is erased. The name, the hash and the reason are kept.",
  warn: "It can be used. The owner gets a warning.",
  suspend_user: "It is restricted, and its owner can no longer sign in.",
  suspend_organization: "It is restricted, and all jobs and endpoints of the team stop.",
};
export const OBJECT_WORDS: Record<CaseView["type"], string> = {
  dataset_version: "Dataset",
  model: "Model",
  deployment: "Endpoint",
};

/** `self-harm/intent` -> `Self-harm: intent`. */
export function categoryWord(category: string): string {
  const words = category.replace("/", ": ").replace("personal-data", "personal data");
  return capitalize(words);
}

export function Categories({ categories }: { categories: string[] }) {
  return (
    <span class="row tight">
      {categories.map((category) => (
        <span class="tag">{categoryWord(category)}</span>
      ))}
    </span>
  );
}

/** `messages.1` -> `message 2`; other fields by their names. */
function partWord(part: string): string {
  const [name = "", index] = part.split(".");
  return index === undefined ? name : `${name.replace(/s$/, "")} ${formatInteger(Number(index) + 1)}`;
}

function placeOf({ split, row, part, prompt }: Finding): string {
  if (prompt !== null) return "Answer of the model";
  if (row === null) return part === "hash" ? "Hash of the content" : "Check";
  return `${split === "holdout" ? "Validation row" : "Row"} ${formatInteger(row)}, ${partWord(part)}`;
}

/** What matched, in its context. `rules`: shows which rule it was. */
export function Findings({ findings, rules }: { findings: Finding[]; rules: boolean }) {
  return (
    <ul class="lines-list">
      {findings.map((one) => (
        <li class="stack tight">
          <div class="row between">
            <span class="row tight">
              <span class="tag">{categoryWord(one.category)}</span>
              {rules ? <strong dir="auto">{one.rule_name}</strong> : null}
              {one.rule_version === null || !rules ? null : (
                <span class="small muted">
                  rule version {one.rule_version}, score {one.score.toFixed(2)}
                  {one.count > 1 ? `, ${plural(one.count, "match", "matches")} in all` : ""}
                </span>
              )}
            </span>
            <span class="small muted">{placeOf(one)}</span>
          </div>
          {one.prompt === null ? null : (
            <div class="small muted wrap-any" dir="auto">
              Prompt: {one.prompt}
            </div>
          )}
          <p class="wrap-any excerpt" dir="auto">
            {one.excerpt.before}
            <mark>{one.excerpt.match}</mark>
            {one.excerpt.after}
          </p>
        </li>
      ))}
    </ul>
  );
}

const ENTRY_WORDS: Record<EntryView["kind"], (value: string | null) => string> = {
  report: (value) => `reported it: ${categoryWord(value ?? "other")}`,
  proposal: (value) => `proposed: ${DECISION_WORDS[value as Decision] ?? value}`,
  decision: (value) => `decided: ${DECISION_WORDS[value as Decision] ?? value}`,
  appeal: () => "appealed",
};

/** What happened to a case, oldest first. */
export function History({ entries }: { entries: EntryView[] }) {
  return (
    <ol class="lines-list">
      {entries.map((one) => (
        <li class="stack tight">
          <div class="row between">
            <span>
              <strong>{one.user_email ?? one.user_id}</strong> {ENTRY_WORDS[one.kind](one.value)}
            </span>
            <Time at={one.created_at * 1000} />
          </div>
          <p class="wrap-any pre-line" dir="auto">
            {one.text}
          </p>
        </li>
      ))}
    </ol>
  );
}
