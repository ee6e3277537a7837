/** /v1/billing/settings: how the installation bills, for administrators. */
import { Elysia } from "elysia";
import { BillingSettingsView, ChangeBillingSettings } from "../billing/settings/model.ts";
import { billingSettings, changeBillingSettings } from "../billing/settings/service.ts";
import type { Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";

const tags = ["Billing"];
const viewOf = (settings: Awaited<ReturnType<typeof billingSettings>>) => ({
  object: "billing_settings" as const,
  ...settings,
});

export const billingSettingsApi = (ctx: Ctx) =>
  new Elysia({ name: "billing.settings.api", prefix: "/v1/billing/settings", seed: ctx.installation })
    .use(session(ctx))
    .get("", async () => viewOf(await billingSettings(ctx)), {
      detail: { tags, summary: "How the installation bills", responses: answers(BillingSettingsView) },
    })
    .patch("", async ({ actor, body }) => viewOf(await changeBillingSettings(ctx, actor, body)), {
      body: ChangeBillingSettings,
      detail: {
        tags,
        summary: "Change how the installation bills; what is not given stays",
        responses: answers(BillingSettingsView),
      },
    });
