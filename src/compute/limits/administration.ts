/** Providers as administrators see them: settings without secrets, and a test of the connection. */
import type { AccountReport } from "../../contract/provider.ts";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { notFound } from "../../errors.ts";
import { homeName, homeProblem } from "../providers/call-home.ts";
import { usesMailbox } from "../providers/mailbox.ts";
import type { AccountView, ProviderSettings, ProviderTest, ProviderView } from "../providers/model.ts";
import { type Compute, listProviders } from "../providers/registry.ts";
import { endPause } from "./pauses.ts";

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

/** What the vendor says about the account; null when the provider cannot say. */
function accountOf(report: AccountReport): AccountView {
  return {
    checks: report.checks.map(({ name, outcome, message }) => ({ name, outcome, message })),
    balance_usd: report.balanceUsd,
    quotas: report.quotas.map(({ name, region, limit, used }) => ({ name, region, limit, used })),
    regions: [...report.regions],
  };
}

/** What the check of the server's own address found, for people. */
function homeOf(ctx: Ctx, problem: { message: string; remedy: string } | null): ProviderTest["home"] {
  const url = homeName(ctx);
  if (problem) return { url, outcome: "failed", message: `${problem.message} ${problem.remedy}` };
  if (ctx.config.trainer_probe && usesMailbox(ctx))
    return { url, outcome: "passed", message: `Machines use ${url}, which takes and returns objects.` };
  if (!ctx.config.trainer_probe)
    return { url, outcome: "unknown", message: `Machines use ${url}. It was not checked: trainer_probe is off.` };
  return { url, outcome: "passed", message: `Machines call ${url}, and this server answers there.` };
}

/**
 * Asks a provider to check its settings and its connection, and its account where it is one of a vendor; for at most 20
 * seconds. Machines elsewhere must be able to call home. A test that passes ends the pause of a provider that refused a
 * request.
 * @throws AppError `provider_not_found`
 */
export async function testProvider(ctx: Ctx, actor: Actor, id: string): Promise<ProviderTest> {
  requireAdmin(actor);
  const entry = ctx.compute.get(id);
  if (!entry) throw notFound("provider", id);
  const { provider } = entry;
  const from = ctx.clock.monotonic();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${TEST_MS / 1000} s`)), TEST_MS);
  });
  let home: ProviderTest["home"] = null;
  const answer = (problems: ProviderTest["problems"], account: AccountReport | null): ProviderTest => ({
    object: "provider_test",
    provider: id,
    ok: problems.length === 0 && !account?.checks.some(({ outcome }) => outcome === "failed"),
    took_ms: Math.round(ctx.clock.monotonic() - from),
    problems,
    home,
    account: account && accountOf(account),
  });
  try {
    const found = await Promise.race([provider.validate(), late]);
    const isElsewhere = !entry.plugin.capabilities.local;
    const problem = isElsewhere ? await homeProblem(ctx, true) : null;
    if (isElsewhere) home = homeOf(ctx, problem);
    const unreached = problem ? [{ field: usesMailbox(ctx) ? "s3_bucket" : "trainer_url", ...problem }] : [];
    if (!found.ok) return answer([...found.problems, ...unreached], null);
    const made = answer(unreached, provider.inspect ? await Promise.race([provider.inspect(), late]) : null);
    if (made.ok) {
      await ctx.write((tx) => endPause(tx, id));
      ctx.bus.emit("hosts.changed", { ids: [] });
    }
    return made;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return answer([{ field: "connection", message, remedy: "Check that the machine or service answers." }], null);
  } finally {
    clearTimeout(timer);
  }
}
