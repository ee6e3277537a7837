/** Page routes of webhooks: list, create, show, change, test, rotate, send again, delete. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { listed } from "../../../src/lib/page.ts";
import { resendWebhook } from "../../../src/notices/delivery/outbox.ts";
import { EVENT_TYPES, type EventType, isSecurity } from "../../../src/notices/events/types.ts";
import {
  ChangeEndpoint,
  CreateEndpoint,
  deliveryView,
  type EndpointView,
  endpointView,
} from "../../../src/notices/webhooks/model.ts";
import {
  changeEndpoint,
  createEndpoint,
  deleteEndpoint,
  getEndpoint,
  listDeliveriesOf,
  listEndpoints,
  rotateSecret,
  testEndpoint,
} from "../../../src/notices/webhooks/service.ts";
import type { WebhookForm } from "./webhook-form.tsx";
import { Deliveries, WebhookPage, type WebhookProps, WebhooksPage, type WebhooksProps } from "./webhooks.tsx";

const MAX_ENDPOINTS = 50;
const PAGE = 20;
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const DeliveryId = v.object({ ...Id.entries, delivery: v.pipe(v.string(), v.maxLength(100)) });
const Query = v.object({ after: text(100) });
/** A browser sends one value as a text, several as a list, none not at all. */
const events = v.optional(
  v.union([
    v.pipe(
      v.string(),
      v.transform((one) => [one]),
    ),
    v.array(v.string()),
  ]),
  [],
);
const Form = v.object({ name: text(300), url: text(3000), format: text(10), events });
const TestForm = v.object({ event: v.picklist(EVENT_TYPES, "must be an event type") });
const RotateForm = v.object({ keep: text(5) });

interface Visit {
  request: Request;
  actor: Actor;
}
interface OnOne extends Visit {
  params: v.InferOutput<typeof Id>;
}

const EMPTY: WebhookForm = {
  name: "",
  url: "",
  format: "openai",
  events: ["fine_tuning.job.succeeded", "fine_tuning.job.failed"],
};
const pathOf = (id: string) => `/settings/webhooks/${encodeURIComponent(id)}`;
const typesFor = (actor: Actor) => EVENT_TYPES.filter((type) => actor.role === "admin" || !isSecurity(type));

/** The message of a refusal and its status; internal errors continue to the error page. */
function refusal(error: unknown): { message: string; status: number } {
  if (!(error instanceof AppError) || error.kind === "internal") throw error;
  return { message: error.message, status: ERROR_TABLE[error.kind].status };
}

/** @throws AppError `invalid_value` naming the field */
function read<S extends v.GenericSchema>(schema: S, given: unknown): v.InferOutput<S> {
  const parsed = v.safeParse(schema, given);
  if (parsed.success) return parsed.output;
  const name = v.getDotPath(parsed.issues[0]) ?? "form";
  const label = { name: "The name", url: "The URL", event_types: "The choice of events" }[name] ?? name;
  const message = name === "event_types" ? "Choose at least one event." : `${label} ${parsed.issues[0].message}.`;
  throw new AppError("unprocessable", "invalid_value", message, { param: name });
}

async function list(ctx: Ctx, { request, actor }: Visit, more: Partial<WebhooksProps> = {}, status = 200) {
  const endpoints = (await listEndpoints(ctx, actor, { limit: MAX_ENDPOINTS })).map(endpointView);
  const props: WebhooksProps = { endpoints, types: typesFor(actor), form: EMPTY, ...more };
  return html(pageOf(ctx, request, actor), <WebhooksPage {...props} />, { status });
}

const formOf = (endpoint: EndpointView): WebhookForm => ({
  name: endpoint.name,
  url: "",
  format: endpoint.format,
  events: endpoint.event_types,
});

async function show(ctx: Ctx, visit: OnOne, more: Partial<WebhookProps> = {}, status = 200) {
  const { request, actor, params } = visit;
  const endpoint = endpointView(await getEndpoint(ctx, actor, params.id));
  const after = new URL(request.url).searchParams.get("after") || undefined;
  const rows = (await listDeliveriesOf(ctx, actor, params.id, { limit: PAGE, after })).map(deliveryView);
  const props: WebhookProps = {
    endpoint,
    deliveries: listed(rows, PAGE),
    types: typesFor(actor),
    form: formOf(endpoint),
    ...more,
  };
  return html(pageOf(ctx, request, actor), <WebhookPage {...props} />, {
    status,
    fragments: { deliveries: () => <Deliveries {...props} /> },
  });
}

async function create(ctx: Ctx, visit: Visit, body: v.InferOutput<typeof Form>) {
  try {
    const { name, url, format, events: event_types } = body;
    const given = read(CreateEndpoint, { name, url, format, event_types });
    const { row, secret } = await createEndpoint(ctx, visit.actor, given);
    // Shown in this answer and not after a redirect: the secret must not travel in a cookie or an address.
    return await show(ctx, { ...visit, params: { id: row.id } }, { secret: format === "slack" ? undefined : secret });
  } catch (error) {
    const { message, status } = refusal(error);
    return list(ctx, visit, { form: body, error: message }, status);
  }
}

async function change(ctx: Ctx, visit: OnOne, body: v.InferOutput<typeof Form>) {
  try {
    const { name, url, events: event_types } = body;
    const given = read(ChangeEndpoint, { name, event_types, ...(url ? { url } : {}) });
    await changeEndpoint(ctx, visit.actor, visit.params.id, given);
    return redirect(visit.request, pathOf(visit.params.id), "The webhook is changed.");
  } catch (error) {
    const { message, status } = refusal(error);
    const format = "openai";
    return show(ctx, visit, { form: { ...body, format }, error: message }, status);
  }
}

/** Sends a sample. That the endpoint does not answer is a result of the test, not a failure of the page. */
async function test(ctx: Ctx, { request, actor, params }: OnOne, event: EventType) {
  const tested = (kind: "ok" | "bad", text: string) => redirect(request, pathOf(params.id), { kind, text });
  try {
    const status = await testEndpoint(ctx, actor, params.id, event);
    const ok = status >= 200 && status < 300;
    return tested(ok ? "ok" : "bad", `The test ${ok ? "was accepted" : "failed"}: the endpoint answered ${status}.`);
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== "webhook_unreachable") throw error;
    return tested("bad", `The test failed. ${error.message}`);
  }
}

async function rotate(ctx: Ctx, visit: OnOne, keep: boolean) {
  const { secret } = await rotateSecret(ctx, visit.actor, visit.params.id, keep);
  return show(ctx, visit, { secret });
}

async function resend(ctx: Ctx, { request, actor }: Visit, { id, delivery }: v.InferOutput<typeof DeliveryId>) {
  await resendWebhook(ctx, actor, id, delivery);
  return redirect(request, pathOf(id), "It is being sent again.");
}

async function remove(ctx: Ctx, { request, actor, params }: OnOne) {
  await deleteEndpoint(ctx, actor, params.id);
  return redirect(request, "/settings/webhooks", "The webhook is deleted.");
}

export const webhookPages = (ctx: Ctx) =>
  new Elysia({ name: "webhooks.pages", prefix: "/settings/webhooks", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("", (visit) => list(ctx, visit))
    .post("", (visit) => create(ctx, visit, visit.body), { body: Form })
    .get("/:id", (visit) => show(ctx, visit), { params: Id, query: Query })
    .post("/:id", (visit) => change(ctx, visit, visit.body), { params: Id, body: Form })
    .post("/:id/test", (visit) => test(ctx, visit, visit.body.event), { params: Id, body: TestForm })
    .post("/:id/rotate", (visit) => rotate(ctx, visit, visit.body.keep !== ""), { params: Id, body: RotateForm })
    .post("/:id/deliveries/:delivery/resend", (visit) => resend(ctx, visit, visit.params), { params: DeliveryId })
    .post("/:id/delete", (visit) => remove(ctx, visit), { params: Id });
