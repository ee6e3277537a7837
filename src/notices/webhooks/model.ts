/** Webhook endpoints as clients send and see them: OpenAI's fields, and `format`. Times of views are Unix seconds. */
import * as v from "valibot";
import type { noticeDelivery, webhookEndpoint } from "../../db/schema/notices.ts";
import { seconds } from "../../lib/request-fields.ts";
import { filledName } from "../../lib/text/names.ts";
import { EVENT_TYPES } from "../events/types.ts";

export type EndpointRow = typeof webhookEndpoint.$inferSelect;
export type DeliveryRow = typeof noticeDelivery.$inferSelect;

const EventType = v.picklist(EVENT_TYPES, "must be one of GET /v1/webhook_event_types");
const EventTypes = v.pipe(
  v.array(EventType),
  v.minLength(1, "must name at least one event"),
  v.maxLength(EVENT_TYPES.length),
);
const Url = v.pipe(v.string(), v.maxLength(2000), v.url("must be an address such as https://example.com/hook"));
const Format = v.picklist(["openai", "slack"]);

export const CreateEndpoint = v.strictObject({
  name: filledName(100),
  url: Url,
  event_types: EventTypes,
  /** `openai`: signed events. `slack`: `{"text": …}`, for incoming webhooks of Slack, Mattermost and Rocket.Chat. */
  format: v.optional(Format, "openai"),
});
export type CreateEndpoint = v.InferOutput<typeof CreateEndpoint>;

export const ChangeEndpoint = v.strictObject({
  name: v.optional(filledName(100)),
  url: v.optional(Url),
  event_types: v.optional(EventTypes),
});
export type ChangeEndpoint = v.InferOutput<typeof ChangeEndpoint>;

export const RotateSecret = v.strictObject({ keep_old_secret_active_for_24_hours: v.optional(v.boolean(), false) });
export const TestEndpoint = v.strictObject({ event_type: EventType });

export const EndpointView = v.strictObject({
  object: v.literal("webhook_endpoint"),
  id: v.string(),
  name: v.string(),
  /** For Slack without its path, which is a secret. */
  url: v.string(),
  event_types: v.array(v.string()),
  format: Format,
  signing_secret_hint: v.nullable(v.string()),
  created_at: v.number(),
  updated_at: v.number(),
});
export type EndpointView = v.InferOutput<typeof EndpointView>;

/** An endpoint that was just created, or whose secret was rotated; only this answer contains the secret. */
export const EndpointWithSecret = v.strictObject({ ...EndpointView.entries, signing_secret: v.string() });

export function endpointView(row: EndpointRow): EndpointView {
  return {
    object: "webhook_endpoint",
    id: row.id,
    name: row.name,
    url: row.shownUrl,
    event_types: row.eventTypes,
    format: row.format,
    signing_secret_hint: row.secretHint,
    created_at: seconds(row.createdAt),
    updated_at: seconds(row.updatedAt),
  };
}

export const EventTypeList = v.strictObject({ object: v.literal("list"), data: v.array(v.string()) });

export const TestResult = v.strictObject({
  object: v.literal("webhook_endpoint.test"),
  webhook_endpoint_id: v.string(),
  event_type: v.string(),
  status_code: v.number(),
  success: v.literal(true),
});

/** One message to one destination. */
export const DeliveryView = v.strictObject({
  object: v.literal("notice.delivery"),
  /** The `webhook-id` that the receiver gets, the same for every attempt. */
  id: v.string(),
  event_id: v.string(),
  event_type: v.string(),
  channel: v.picklist(["webhook", "mail"]),
  /** Id of the endpoint, or the e-mail address. */
  destination: v.string(),
  summary: v.string(),
  /** `dead`: every attempt failed; it can be sent again. */
  status: v.picklist(["waiting", "sent", "dead"]),
  attempts: v.number(),
  /** HTTP status of the last answer. */
  last_status: v.nullable(v.number()),
  last_error: v.nullable(v.string()),
  next_attempt_at: v.nullable(v.number()),
  created_at: v.number(),
  ended_at: v.nullable(v.number()),
});
export type DeliveryView = v.InferOutput<typeof DeliveryView>;

export function deliveryView(row: DeliveryRow): DeliveryView {
  return {
    object: "notice.delivery",
    id: row.id,
    event_id: row.eventId,
    event_type: row.type,
    channel: row.channel,
    destination: row.destination.replace(/^mail:/, ""),
    summary: row.summary,
    status: row.state,
    attempts: row.attempts,
    last_status: row.lastStatus,
    last_error: row.lastError,
    next_attempt_at: row.state === "waiting" ? seconds(row.nextAt) : null,
    created_at: seconds(row.createdAt),
    ended_at: row.endedAt === null ? null : seconds(row.endedAt),
  };
}
