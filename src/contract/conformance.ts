/**
 * The requirements of every provider, as data: a name and a check per case. `bun run conformance` and `plugin check`
 * run these same cases.
 */
import type { ConformanceCase, ConformanceTools, ProviderFactory } from "./conformance-case.ts";
import { FAULT_CASES } from "./conformance-faults.ts";
import { LIFE_CASES } from "./conformance-life.ts";
import { RENTED_CASES } from "./conformance-rented.ts";
import { RULE_CASES } from "./conformance-rules.ts";
import type { Provider, ProviderPlugin } from "./provider.ts";

export interface CaseResult {
  name: string;
  outcome: "passed" | "failed" | "skipped";
  detail: string;
  ms: number;
}

/** Cases about work that runs the programs of the cases. */
export const CASES: readonly ConformanceCase[] = [...RULE_CASES, ...LIFE_CASES];

/** Every case that a plugin must pass. Rented machines run the trainer: what they share are the cases about vendors. */
export function casesFor({ capabilities }: Pick<ProviderPlugin, "capabilities">): readonly ConformanceCase[] {
  return capabilities.priced ? [...RULE_CASES, ...RENTED_CASES, ...FAULT_CASES] : CASES;
}

/** Cases that rent machines at a real vendor, or ask it. The others break requests, or start programs. */
export const isLive = (one: ConformanceCase) => one.rents !== undefined;

async function terminateAll(provider: Provider, tools: ConformanceTools): Promise<void> {
  for (const handle of tools.cleanup.splice(0)) {
    for (let i = 0; i < 100; i++) {
      const result = await provider.terminate(handle, { graceS: 0 });
      if (result.gone) break;
      await tools.sleep(result.againAfterS * 1000);
    }
  }
}

/** Runs one case and ends whatever it left running. */
export async function runCase(
  one: ConformanceCase,
  make: ProviderFactory,
  tools: ConformanceTools,
): Promise<CaseResult> {
  const begin = performance.now();
  const result = (outcome: CaseResult["outcome"], detail: string): CaseResult => ({
    name: one.name,
    outcome,
    detail,
    ms: Math.round(performance.now() - begin),
  });
  let answer: CaseResult;
  tools.wire.clear();
  try {
    const skipped = await one.check(make, tools);
    answer = skipped ? result("skipped", skipped.skipped) : result("passed", "");
  } catch (error) {
    answer = result("failed", error instanceof Error ? error.message : String(error));
  }
  tools.wire.clear();
  try {
    await terminateAll(make(), tools);
  } catch (error) {
    const left = `what the case started could not be terminated: ${String(error)}`;
    return { ...answer, outcome: "failed", detail: answer.detail ? `${answer.detail}; ${left}` : left };
  }
  return answer;
}
