/** The state of the account at RunPod: what the key may do, and what is left of the money. Starts nothing. */
import type { AccountCheck, AccountReport, ProviderFailure } from "../../src/contract/provider.ts";
import type { Api } from "./api.ts";
import type { Catalog } from "./offers.ts";

const BALANCE = "query Balance { myself { clientBalance } }";

const failureOf = (error: unknown) => error as ProviderFailure;

/** Passed when `ask` succeeds; `unknown` for problems that say nothing about the key. */
async function check(name: string, passed: string, ask: () => Promise<unknown>): Promise<AccountCheck> {
  try {
    await ask();
    return { name, outcome: "passed", message: passed };
  } catch (error) {
    const { providerErrorKind: kind, message } = failureOf(error);
    return { name, outcome: kind === "auth" || kind === "quota" ? "failed" : "unknown", message };
  }
}

/**
 * A request to create nothing: RunPod refuses it as invalid when the key may create pods, and as forbidden
 * otherwise.
 */
async function mayCreate(api: Api): Promise<AccountCheck> {
  const name = "Create pods";
  try {
    await api.rest("POST", "/v2/pods", {});
    return { name, outcome: "unknown", message: "RunPod accepted an empty request." };
  } catch (error) {
    const { providerErrorKind: kind, message } = failureOf(error);
    if (kind === "invalid") return { name, outcome: "passed", message: "The key may create pods." };
    if (kind === "auth") return { name, outcome: "failed", message: `${message} Give the key write access to pods.` };
    return { name, outcome: "unknown", message };
  }
}

export async function inspectAccount(api: Api, catalog: Catalog): Promise<AccountReport> {
  let balanceUsd: number | null = null;
  const checks = [
    await check("Read pods", "The key is valid and reads pods.", () => api.rest("GET", "/v2/pods")),
    await mayCreate(api),
    await check("Balance", "The key reads the balance.", async () => {
      const { myself } = await api.graphql<{ myself: { clientBalance: number | null } | null }>(BALANCE, {});
      balanceUsd = myself?.clientBalance ?? null;
    }),
  ];
  if (balanceUsd !== null && balanceUsd <= 0)
    checks.push({
      name: "Credit",
      outcome: "failed",
      message: "The balance is used up: add credit in RunPod's console.",
    });
  const regions = await catalog.regions().catch(() => null);
  return { checks, balanceUsd, quotas: [], regions: regions ?? [] };
}
