/** Providers as administrators see them: settings without secrets, and a test of the connection. */
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { notFound } from "../../errors.ts";
import type { ProviderSettings, ProviderTest, ProviderView } from "./model.ts";
import { type Compute, listProviders } from "./registry.ts";

const TEST_MS = 20_000;
/** What stands for a secret that is set. */
const MASK = "••••••••";

/** The settings of a provider, each with its label; secrets are masked. */
function settingsOf(ctx: Ctx, id: string): ProviderSettings {
  const found = "settings" in ctx.compute ? (ctx.compute as Compute).settings(id) : null;
  const fields = ctx.compute.get(id)?.plugin.config ?? [];
  return {
    bundled: found?.bundled ?? true,
    fields: fields.map(({ name, label, help, type, default: fallback }) => {
      const value = found?.config[name];
      const empty = value === undefined || value === "";
      return {
        name,
        label,
        help,
        value: empty ? null : type === "secret" ? MASK : String(value),
        is_default: value === fallback,
      };
    }),
  };
}

/** The loaded providers with their settings. Administrators only. */
export function describeProviders(ctx: Ctx, actor: Actor): (ProviderView & ProviderSettings)[] {
  requireAdmin(actor);
  return listProviders(ctx).map((view) => ({ ...view, ...settingsOf(ctx, view.id) }));
}

/**
 * Asks a provider to check its settings and its connection, for at most 20 seconds.
 * @throws AppError `provider_not_found`
 */
export async function testProvider(ctx: Ctx, actor: Actor, id: string): Promise<ProviderTest> {
  requireAdmin(actor);
  const entry = ctx.compute.get(id);
  if (!entry) throw notFound("provider", id);
  const from = ctx.clock.monotonic();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${TEST_MS / 1000} s`)), TEST_MS);
  });
  const answer = (problems: ProviderTest["problems"]): ProviderTest => ({
    object: "provider_test",
    provider: id,
    ok: problems.length === 0,
    took_ms: Math.round(ctx.clock.monotonic() - from),
    problems,
  });
  try {
    const found = await Promise.race([entry.provider.validate(), late]);
    return answer(found.ok ? [] : found.problems);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return answer([{ field: "connection", message, remedy: "Check that the machine or service answers." }]);
  } finally {
    clearTimeout(timer);
  }
}
