/** Page routes of the forwarding of the audit log: show, set, test, stop. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { parseForm } from "../../../src/http/validation.ts";
import { KINDS, type Kind, SetSyslog, SetWebhook } from "../../../src/notices/forwarding/model.ts";
import {
  listForwarding,
  readSyslog,
  removeForwarding,
  setForwardWebhook,
  setSyslog,
  testForwarding,
} from "../../../src/notices/forwarding/service.ts";
import { FACILITIES } from "../../../src/notices/forwarding/syslog.ts";
import { ForwardingPage, type ForwardingProps, type SyslogForm } from "./forwarding.tsx";

const PATH = "/admin/audit/forwarding";
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const Params = v.object({ kind: v.picklist(KINDS) });
const SyslogBody = v.object({
  host: text(300),
  port: text(10),
  transport: text(10),
  facility: text(20),
  ca: text(100_000),
  enterprise_number: text(20),
  from: text(20),
});
const WebhookBody = v.object({ url: text(3000), rotate_secret: text(5), from: text(20) });
const LABELS = {
  host: "The host",
  port: { sentence: "The port must be a number from 1 to 65535." },
  ca: "The certificate authority",
  enterprise_number: "The enterprise number",
  url: "The address",
};

interface Visit {
  request: Request;
  actor: Actor;
}

async function show(ctx: Ctx, { request, actor }: Visit, more: Partial<ForwardingProps> = {}, status = 200) {
  const views = await listForwarding(ctx, actor);
  const stored = await readSyslog(ctx, actor);
  const form: SyslogForm = {
    host: stored?.host ?? "",
    port: String(stored?.port ?? 6514),
    transport: stored?.transport ?? "tls",
    facility: stored?.facility ?? "audit",
    ca: stored?.ca ?? "",
    enterprise_number: String(stored?.enterprise_number ?? 32_473),
  };
  const of = (kind: Kind) => views.find((view) => view.kind === kind) ?? null;
  const facilities = Object.keys(FACILITIES);
  const props = { syslog: of("syslog"), webhook: of("webhook"), form, facilities, ...more };
  return html(pageOf(ctx, request, actor), <ForwardingPage {...props} />, { status });
}

/** Shows the form again with why it was refused. */
function refused(ctx: Ctx, visit: Visit, error: unknown, kind: Kind, typed: Partial<ForwardingProps>) {
  if (!(error instanceof AppError) || error.kind === "internal") throw error;
  const problem = { kind, message: error.message };
  return show(ctx, visit, { ...typed, problem }, ERROR_TABLE[error.kind].status);
}

async function saveSyslog(ctx: Ctx, visit: Visit, body: v.InferOutput<typeof SyslogBody>) {
  const { from, ...form } = body;
  try {
    const given = {
      ...form,
      port: Number(form.port),
      enterprise_number: Number(form.enterprise_number),
      ca: form.ca.trim() ? form.ca.replaceAll("\r\n", "\n") : null,
      from: from || undefined,
    };
    await setSyslog(ctx, visit.actor, parseForm(SetSyslog, given, LABELS));
    return redirect(visit.request, PATH, "Saved. Send a test entry.");
  } catch (error) {
    return refused(ctx, visit, error, "syslog", { form });
  }
}

async function saveWebhook(ctx: Ctx, visit: Visit, body: v.InferOutput<typeof WebhookBody>) {
  try {
    const given = { url: body.url, rotate_secret: body.rotate_secret === "yes", from: body.from || undefined };
    const { signing_secret } = await setForwardWebhook(ctx, visit.actor, parseForm(SetWebhook, given, LABELS));
    if (signing_secret) return show(ctx, visit, { secret: signing_secret });
    return redirect(visit.request, PATH, "Saved. Send a test entry.");
  } catch (error) {
    return refused(ctx, visit, error, "webhook", { url: body.url });
  }
}

async function test(ctx: Ctx, visit: Visit, kind: Kind) {
  return show(ctx, visit, { tested: await testForwarding(ctx, visit.actor, kind) });
}

async function remove(ctx: Ctx, { request, actor }: Visit, kind: Kind) {
  await removeForwarding(ctx, actor, kind);
  return redirect(request, PATH, "Forwarding has stopped.");
}

export const forwardingPages = (ctx: Ctx) =>
  new Elysia({ name: "forwarding.pages", prefix: PATH, seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("", (visit) => show(ctx, visit))
    .post("/syslog", (visit) => saveSyslog(ctx, visit, visit.body), { body: SyslogBody })
    .post("/webhook", (visit) => saveWebhook(ctx, visit, visit.body), { body: WebhookBody })
    .post("/:kind/test", (visit) => test(ctx, visit, visit.params.kind), { params: Params })
    .post("/:kind/remove", (visit) => remove(ctx, visit, visit.params.kind), { params: Params });
