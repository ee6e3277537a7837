/** A key of a seeded team that is restricted in every way and was rotated; service accounts, one with a key. */

import { rotateKey } from "../../src/accounts/api-keys/changes.ts";
import { createKey } from "../../src/accounts/api-keys/service.ts";
import { createServiceAccount, createServiceKey } from "../../src/accounts/service-accounts/service.ts";
import type { Actor, Ctx } from "../../src/ctx.ts";

export async function addKeys(ctx: Ctx, actor: Actor): Promise<void> {
  const { id } = await createKey(ctx, actor, {
    name: "Support desk, production",
    scopes: ["infer"],
    restrictions: {
      allowedAddresses: ["203.0.113.0/24", "2001:db8:40::/48"],
      allowedModels: ["smollm2-135m"],
      requestsPerMinute: 600,
      tokensPerMinute: 120_000,
    },
  });
  await rotateKey(ctx, actor, id, 86_400_000);
  await createServiceAccount(ctx, actor, { name: "Read-only dashboard", role: "viewer" });
  const bot = await createServiceAccount(ctx, actor, { name: "Nightly evaluation", role: "member" });
  await createServiceKey(ctx, actor, bot.id, { name: "cron on atlas", scopes: ["train", "infer"], expiresAt: null });
}
