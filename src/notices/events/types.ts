/** The types of events, and the topics by which users choose what reaches them. */
import { SECURITY_KINDS } from "../../lib/bus.ts";

/** OpenAI's names where it has the event, our own in the same style. */
const WORK_TYPES = [
  "fine_tuning.job.succeeded",
  "fine_tuning.job.failed",
  "fine_tuning.job.cancelled",
  "evaluation.succeeded",
  "evaluation.failed",
  "evaluation.cancelled",
  "sweep.succeeded",
  "sweep.failed",
  "sweep.cancelled",
  "export.succeeded",
  "export.failed",
  "export.cancelled",
  "model.push.succeeded",
  "model.push.failed",
  "response.completed",
  "response.failed",
  "response.incomplete",
  "response.cancelled",
  "deployment.ready",
  "deployment.failed",
  "deployment.idle",
  "dataset.ready",
  "dataset.failed",
  "dataset.import.succeeded",
  "dataset.import.failed",
  "archive.succeeded",
  "archive.failed",
] as const;
const SECURITY_TYPES = SECURITY_KINDS.map((kind) => `security.${kind}` as const);

export const EVENT_TYPES = [...WORK_TYPES, ...SECURITY_TYPES];
/** Events of the installation: they reach people, not webhooks. */
export const INSTALLATION_TYPES = [
  "terms.published",
  "terms.withdrawn",
  "moderation.held",
  "moderation.decided",
  "review.waiting",
  "announcement.published",
  "announcement.critical",
  "incident.opened",
  "incident.updated",
  "incident.resolved",
  "maintenance.scheduled",
  "maintenance.changed",
  "maintenance.canceled",
  "provider.refused",
  "provider.balance_low",
  "billing.budget.threshold",
  "billing.budget.exhausted",
  "billing.prices_announced",
  "billing.prices_withdrawn",
  "billing.statement",
  "billing.close_failed",
  "billing.payment_failed",
  "billing.credit",
  "billing.refund",
  "billing.dispute",
  "billing.late",
  "billing.suspended",
  "billing.restored",
] as const;
export type EventType = (typeof EVENT_TYPES)[number] | (typeof INSTALLATION_TYPES)[number];

const ALWAYS =
  /^(terms\..*|moderation\..*|announcement\.critical|billing\.prices_.*|billing\.(close_failed|dispute|payment_failed|late|suspended|restored))$/;

/** True for events that reach everybody, whatever they chose. */
export const reachesAll = (type: string) => isSecurity(type) || ALWAYS.test(type);

/** True for events about accounts, which only administrators send to webhooks. */
export const isSecurity = (type: string) => type.startsWith("security.");

export const TOPICS = [
  "jobs",
  "deployments",
  "datasets",
  "announcements",
  "incidents",
  "reviews",
  "billing",
  "security",
] as const;
export type Topic = (typeof TOPICS)[number];

/** What a user chooses for an event. */
export function topicOf(type: string): Topic {
  if (isSecurity(type)) return "security";
  if (/^(announcement|maintenance)\./.test(type)) return "announcements";
  if (type.startsWith("deployment.")) return "deployments";
  if (/^(incident|provider)\./.test(type)) return "incidents";
  if (type.startsWith("review.")) return "reviews";
  if (type.startsWith("billing.")) return "billing";
  return type.startsWith("dataset.") ? "datasets" : "jobs";
}
