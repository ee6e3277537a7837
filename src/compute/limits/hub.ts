/** Whether machines of a provider may download base models from the hub: the provider's own choice, or the setting. */
import { eq } from "drizzle-orm";
import type { Offer } from "../../contract/provider.ts";
import type { Ctx } from "../../ctx.ts";
import { providerLimit } from "../../db/schema/hosts.ts";

/**
 * Whether a machine of a provider may. Without a choice for the provider, the setting decides for rented machines. No
 * machine may while the installation has no hub, or is offline.
 */
export async function mayUseHub(ctx: Ctx, provider: string, { market }: Pick<Offer, "market">): Promise<boolean> {
  if (ctx.config.hub_url === "" || ctx.config.offline) return false;
  const [row] = await ctx.db
    .select({ allowed: providerLimit.modelsFromHub })
    .from(providerLimit)
    .where(eq(providerLimit.provider, provider))
    .limit(1);
  return row?.allowed ?? (ctx.config.models_from_hub === "rented" && market !== "own");
}
