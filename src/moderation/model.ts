/** Rules, cases and decisions of moderation as clients send and see them. Times of views are Unix seconds. */
import * as v from "valibot";
import { PII_KIND_NAMES, type PiiKind } from "../data/pii/kinds.ts";
import type { moderationCase, moderationCheck, moderationEntry, moderationRule } from "../db/schema/moderation.ts";
import { Grader } from "../graders/model.ts";
import { MODERATION_CATEGORIES } from "../lib/moderation.ts";
import { pageLimit } from "../lib/page.ts";
import { id, seconds } from "../lib/request-fields.ts";
import { filledName, linesText } from "../lib/text/names.ts";

export type RuleRow = typeof moderationRule.$inferSelect;
export type CheckRow = typeof moderationCheck.$inferSelect;
export type CaseRow = typeof moderationCase.$inferSelect;
export type EntryRow = typeof moderationEntry.$inferSelect;

/** OpenAI's categories, and two that rules of an installation need. */
export const CATEGORIES = [...MODERATION_CATEGORIES, "personal-data", "other"] as const;
const RULE_KINDS = ["keywords", "pattern", "pii", "guard", "grader"] as const;
const CASE_STATES = ["open", "second_review", "decided", "appealed"] as const;
/** The states in which a case waits for a reviewer. */
export const WAITING = ["open", "appealed", "second_review"] as const;
const OBJECTS = ["dataset_version", "model", "deployment"] as const;
export const DECISIONS = ["approve", "restrict", "remove", "warn", "suspend_user", "suspend_organization"] as const;
export type Decision = (typeof DECISIONS)[number];

const CategoryField = v.picklist(CATEGORIES, `must be one of ${CATEGORIES.join(", ")}`);
const Word = v.pipe(v.string(), v.trim(), v.minLength(1, "must not be empty"), v.maxLength(200));

/** The kinds of personal data that detectors find; others need a language model. */
export const DETECTED = PII_KIND_NAMES.filter((kind) => !["person", "location", "other"].includes(kind));

/** What the kind of a rule needs. Exactly one is given. */
const WHAT = {
  /** Words and phrases, in any case and spacing. */
  keywords: v.optional(v.pipe(v.array(Word), v.minLength(1, "needs at least one word"), v.maxLength(5000))),
  /** A regular expression of RE2. */
  pattern: v.optional(v.pipe(v.string(), v.minLength(1, "must not be empty"), v.maxLength(2000))),
  /** Kinds of personal data and secrets. */
  pii: v.optional(
    v.pipe(
      v.array(v.picklist(DETECTED, `must be one of ${DETECTED.join(", ")}`)),
      v.minLength(1, "needs at least one kind"),
    ),
  ),
  /** A model served here that answers as Llama Guard does. */
  guard_model: v.optional(v.pipe(v.string(), v.minLength(1, "must not be empty"), v.maxLength(400))),
  /** Any grader: its reward for the text, as `sample.output_text`, is the score. */
  grader: v.optional(Grader),
};

const COMMON = {
  name: filledName(100),
  category: CategoryField,
  /** The score from which a text is flagged, 0 to 1. Matches of words and patterns have the score 1. */
  threshold: v.pipe(v.number(), v.minValue(0), v.maxValue(1)),
  on_datasets: v.boolean(),
  on_models: v.boolean(),
  /** `hold`: not usable until it is checked and, when flagged, decided. */
  action: v.picklist(["flag", "hold"], "must be flag or hold"),
  enabled: v.boolean(),
};

/** Creates a rule. */
export const CreateRule = v.strictObject({
  name: COMMON.name,
  category: COMMON.category,
  threshold: v.optional(COMMON.threshold, 0.5),
  on_datasets: v.optional(COMMON.on_datasets, true),
  on_models: v.optional(COMMON.on_models, true),
  action: v.optional(COMMON.action, "flag"),
  enabled: v.optional(COMMON.enabled, true),
  ...WHAT,
});
export type CreateRule = v.InferOutput<typeof CreateRule>;

/** Changes a rule; absent fields stay. */
export const UpdateRule = v.strictObject({
  name: v.optional(COMMON.name),
  category: v.optional(COMMON.category),
  threshold: v.optional(COMMON.threshold),
  on_datasets: v.optional(COMMON.on_datasets),
  on_models: v.optional(COMMON.on_models),
  action: v.optional(COMMON.action),
  enabled: v.optional(COMMON.enabled),
  ...WHAT,
});
export type UpdateRule = v.InferOutput<typeof UpdateRule>;

/** What is stored of a rule's kind. */
export type RuleSettings =
  | { keywords: string[] }
  | { pattern: string }
  | { pii: PiiKind[] }
  | { guard_model: string }
  | { grader: v.InferOutput<typeof Grader> };

export const RuleView = v.strictObject({
  object: v.literal("moderation_rule"),
  id: v.string(),
  version: v.number(),
  name: v.string(),
  category: v.string(),
  kind: v.picklist(RULE_KINDS),
  keywords: v.optional(v.array(v.string())),
  pattern: v.optional(v.string()),
  pii: v.optional(v.array(v.string())),
  guard_model: v.optional(v.string()),
  grader: v.optional(v.looseObject({ type: v.string() })),
  threshold: v.number(),
  on_datasets: v.boolean(),
  on_models: v.boolean(),
  action: v.picklist(["flag", "hold"]),
  enabled: v.boolean(),
  created_by: v.string(),
  created_at: v.number(),
  updated_at: v.number(),
});
export type RuleView = v.InferOutput<typeof RuleView>;

export function ruleView(row: RuleRow): RuleView {
  const settings = row.settings as RuleSettings;
  return {
    object: "moderation_rule",
    id: row.id,
    version: row.version,
    name: row.name,
    category: row.category,
    kind: row.kind,
    ...settings,
    threshold: row.threshold / 1e6,
    on_datasets: row.onDatasets,
    on_models: row.onModels,
    action: row.action,
    enabled: row.enabled,
    created_by: row.createdBy,
    created_at: seconds(row.createdAt),
    updated_at: seconds(row.updatedAt),
  };
}

/** Switches moderation on or off. */
export const ChangeSettings = v.strictObject({
  enabled: v.optional(v.boolean()),
  /** A decision takes effect once another reviewer confirms it. */
  second_reviewer: v.optional(v.boolean()),
});
export const SettingsView = v.strictObject({
  object: v.literal("moderation_settings"),
  enabled: v.boolean(),
  second_reviewer: v.boolean(),
});

const ExcerptView = v.strictObject({ before: v.string(), match: v.string(), after: v.string() });

/** One match in a row, or in the answer to a prompt. */
const FindingView = v.strictObject({
  /** Null for what no rule found: content that was removed before, or a check that failed. */
  rule: v.nullable(v.string()),
  rule_name: v.string(),
  rule_version: v.nullable(v.number()),
  category: v.string(),
  score: v.number(),
  /** Rows or answers that the rule flagged. */
  count: v.number(),
  split: v.nullable(v.string()),
  row: v.nullable(v.number()),
  /** The part of the row, such as `messages.1`; `answer` for a model. */
  part: v.string(),
  /** The prompt that the model answered. */
  prompt: v.nullable(v.string()),
  excerpt: ExcerptView,
});
export type Finding = v.InferOutput<typeof FindingView>;

const EntryView = v.strictObject({
  kind: v.picklist(["report", "proposal", "decision", "appeal"]),
  user_id: v.string(),
  user_email: v.nullable(v.string()),
  value: v.nullable(v.string()),
  text: v.string(),
  created_at: v.number(),
});
export type EntryView = v.InferOutput<typeof EntryView>;

const ABOUT = {
  id: v.string(),
  type: v.picklist(OBJECTS),
  /** Id of the dataset version, model or deployment. */
  subject: v.string(),
  dataset_id: v.nullable(v.string()),
  name: v.string(),
  hash: v.nullable(v.string()),
  state: v.picklist(CASE_STATES),
  categories: v.array(v.string()),
  flagged: v.number(),
  decision: v.nullable(v.picklist(DECISIONS)),
  reason: v.nullable(v.string()),
  decided_at: v.nullable(v.number()),
  created_at: v.number(),
};

/** A case as reviewers see it. */
export const CaseView = v.strictObject({
  object: v.literal("moderation_case"),
  ...ABOUT,
  source: v.picklist(["check", "report"]),
  organization: v.string(),
  organization_name: v.string(),
  owner: v.string(),
  owner_email: v.nullable(v.string()),
  /** Jobs still use content that is being removed. */
  erasing: v.boolean(),
  findings: v.array(FindingView),
  history: v.array(EntryView),
});
export type CaseView = v.InferOutput<typeof CaseView>;

/** The same as its owner sees it: without rules, reporters and reviewers. */
export const DecisionView = v.strictObject({
  object: v.literal("moderation_decision"),
  ...ABOUT,
  appeal: v.nullable(v.strictObject({ text: v.string(), created_at: v.number() })),
});
export type DecisionView = v.InferOutput<typeof DecisionView>;

const aboutOf = (row: CaseRow) => ({
  id: row.id,
  type: row.object,
  subject: row.subject,
  dataset_id: row.datasetId,
  name: row.name,
  hash: row.hash,
  state: row.state,
  categories: row.categories,
  flagged: row.flagged,
  decision: row.decision,
  reason: row.reason,
  decided_at: row.decidedAt === null ? null : seconds(row.decidedAt),
  created_at: seconds(row.createdAt),
});

/** A case with the names that go with its ids. */
export interface FullCase {
  row: CaseRow;
  orgName: string;
  ownerEmail: string | null;
  entries: (EntryRow & { email: string | null })[];
}

export function caseView({ row, orgName, ownerEmail, entries }: FullCase): CaseView {
  return {
    object: "moderation_case",
    ...aboutOf(row),
    source: row.source,
    organization: row.org,
    organization_name: orgName,
    owner: row.ownerId,
    owner_email: ownerEmail,
    erasing: row.erasing,
    findings: row.findings as Finding[],
    history: entries.map((one) => ({
      kind: one.kind,
      user_id: one.userId,
      user_email: one.email,
      value: one.value,
      text: one.text,
      created_at: seconds(one.createdAt),
    })),
  };
}

export function decisionView(row: CaseRow, entries: EntryRow[]): DecisionView {
  const appeal = entries.findLast(({ kind }) => kind === "appeal");
  return {
    object: "moderation_decision",
    ...aboutOf(row),
    // What another reviewer has still to confirm is not decided.
    state: row.state === "second_review" ? "open" : row.state,
    appeal: appeal ? { text: appeal.text, created_at: seconds(appeal.createdAt) } : null,
  };
}

/** Decides a case, or confirms the proposal of another reviewer. */
export const DecideCase = v.strictObject({
  decision: v.picklist(DECISIONS, `must be one of ${DECISIONS.join(", ")}`),
  /** For the owner, who reads it. */
  reason: v.pipe(linesText(1000), v.trim(), v.minLength(1, "must not be empty")),
});
export type DecideCase = v.InferOutput<typeof DecideCase>;

export const AppealCase = v.strictObject({
  text: v.pipe(linesText(2000), v.trim(), v.minLength(1, "must not be empty")),
});
export type AppealCase = v.InferOutput<typeof AppealCase>;

/** Reports a model or an endpoint. */
export const CreateReport = v.strictObject({
  type: v.picklist(["model", "deployment"], "must be model or deployment"),
  id: v.pipe(v.string(), v.minLength(1), v.maxLength(400)),
  category: CategoryField,
  text: v.pipe(linesText(2000), v.trim(), v.minLength(1, "must not be empty")),
});
export type CreateReport = v.InferOutput<typeof CreateReport>;
export const ReportView = v.strictObject({
  object: v.literal("moderation_report"),
  id: v.string(),
  received: v.literal(true),
});

export const CaseQuery = v.strictObject({
  limit: pageLimit(),
  after: v.optional(id),
  state: v.optional(v.picklist([...CASE_STATES, "waiting"], `must be one of waiting, ${CASE_STATES.join(", ")}`)),
});
export type CaseQuery = v.InferOutput<typeof CaseQuery>;
