/** The body of a webhook: OpenAI's event, or a text for chat. */
import type { Ctx } from "../../ctx.ts";
import type { noticeEvent } from "../../db/schema/notices.ts";
import { newId } from "../../lib/ids.ts";
import { seconds } from "../../lib/request-fields.ts";
import { siteAddress } from "../mail/template.ts";
import type { EndpointRow } from "./model.ts";

export type EventRow = typeof noticeEvent.$inferSelect;

/** Characters that Slack gives a meaning. */
const slackText = (text: string) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

/** What is sent for an event. */
export function bodyOf(ctx: Ctx, format: EndpointRow["format"], event: EventRow): string {
  if (format === "slack") {
    const lines = [`*${slackText(event.title)}*`, slackText(event.body), slackText(siteAddress(ctx) + event.path)];
    return JSON.stringify({ text: lines.filter(Boolean).join("\n") });
  }
  return JSON.stringify({
    object: "event",
    id: event.id,
    type: event.type,
    created_at: seconds(event.createdAt),
    data: { id: event.subject },
  });
}

/** An event that nobody caused, for tests of an endpoint. */
export function sampleEvent(ctx: Ctx, type: string): EventRow {
  const now = ctx.clock.now();
  return {
    id: newId("noticeEvent"),
    org: "",
    type,
    subject: "test",
    userId: null,
    alsoTo: null,
    title: `Test: ${type}`,
    body: "Somebody tested this webhook. Nothing happened.",
    path: "/settings/webhooks",
    createdAt: now,
    spreadAt: now,
    answeredAt: null,
  };
}
