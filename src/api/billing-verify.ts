/** /v1/admin/billing/verify: the checks of the ledger, for administrators. */
import { Elysia } from "elysia";
import { LedgerVerification } from "../billing/ledger/model.ts";
import { verifyNow } from "../billing/ledger/verification.ts";
import type { Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";

async function verifyRoute(ctx: Ctx): Promise<LedgerVerification> {
  const { checks } = await verifyNow(ctx);
  return { object: "ledger_verification", ok: checks.every(({ violations }) => violations.length === 0), checks };
}

export const billingVerifyApi = (ctx: Ctx) =>
  new Elysia({ name: "billing.verify.api", prefix: "/v1/admin/billing", seed: ctx.installation })
    .use(session(ctx))
    .get("/verify", () => verifyRoute(ctx), {
      detail: {
        tags: ["Billing"],
        summary: "Check that metered use, ledger, budgets and statements agree",
        responses: answers(LedgerVerification),
      },
    });
