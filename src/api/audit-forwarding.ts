/** JSON API of the forwarding of the audit log, for administrators. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Ctx } from "../ctx.ts";
import { answers, deletedOf } from "../http/answers.ts";
import { session } from "../http/session.ts";
import {
  ForwardingTest,
  ForwardingView,
  KINDS,
  SetSyslog,
  SetWebhook,
  WebhookWithSecret,
} from "../notices/forwarding/model.ts";
import {
  listForwarding,
  removeForwarding,
  setForwardWebhook,
  setSyslog,
  testForwarding,
} from "../notices/forwarding/service.ts";

const tags = ["Administration"];
const Params = v.strictObject({ kind: v.picklist(KINDS, "must be syslog or webhook") });

export const auditForwardingApi = (ctx: Ctx) =>
  new Elysia({ name: "audit-forwarding.api", prefix: "/v1/admin/audit/forwarding", seed: ctx.installation })
    .use(session(ctx))
    .get("", async ({ actor }) => ({ object: "list" as const, data: await listForwarding(ctx, actor) }), {
      detail: {
        tags,
        summary: "Where the audit log is forwarded to, how far, and the last error",
        responses: answers(v.strictObject({ object: v.literal("list"), data: v.array(ForwardingView) })),
      },
    })
    .post("/syslog", ({ actor, body }) => setSyslog(ctx, actor, body), {
      body: SetSyslog,
      detail: {
        tags,
        summary: "Forward the audit log to a syslog receiver (RFC 5424)",
        responses: answers(ForwardingView),
      },
    })
    .post("/webhook", ({ actor, body }) => setForwardWebhook(ctx, actor, body), {
      body: SetWebhook,
      detail: {
        tags,
        summary: "Forward the audit log to a signed webhook; a new secret is in this answer only",
        responses: answers(WebhookWithSecret),
      },
    })
    .post("/:kind/test", ({ actor, params }) => testForwarding(ctx, actor, params.kind), {
      params: Params,
      detail: { tags, summary: "Send a test entry now", responses: answers(ForwardingTest) },
    })
    .delete(
      "/:kind",
      async ({ actor, params }) => {
        await removeForwarding(ctx, actor, params.kind);
        return { object: "audit_forwarding" as const, id: params.kind, deleted: true as const };
      },
      {
        params: Params,
        detail: {
          tags,
          summary: "Stop forwarding the audit log to a destination",
          responses: answers(deletedOf("audit_forwarding")),
        },
      },
    );
