/** What every provider must do, as data: one name and one check a case. `bun run conformance` and `plugin check` run these same cases. */
import { LIFE_CASES } from "./conformance-life.ts";
import { RULE_CASES } from "./conformance-rules.ts";
import type { Handle, Provider, ProviderPlugin } from "./provider.ts";
import type { Need } from "./spec.ts";

/** What the runner hands to every case. */
export interface ConformanceTools {
  plugin: ProviderPlugin;
  /** The installation the factory's providers belong to. */
  installation: string;
  /** A need the provider under test can meet; GPU providers are given one that asks for a GPU. */
  need: Need;
  /** A key no other case uses. */
  key(): string;
  /** Program and arguments that run Python source where the work runs. */
  python(source: string): string[];
  /** Environment of the server that must never reach the work: a name, and its value. */
  canary: { name: string; value: string };
  sleep(ms: number): Promise<void>;
  /** Longest wait for work to begin or end, in milliseconds: seconds for processes, minutes for rented machines. */
  patienceMs: number;
  /** Handles to terminate when the case is over, whatever happened. */
  cleanup: Handle[];
}

/** Makes a provider as a freshly started server would; everything it knew in memory is forgotten. `config` replaces the working one. */
export type ProviderFactory = (config?: Record<string, unknown>) => Provider;

export interface ConformanceCase {
  name: string;
  /** Returns nothing when it passed, or why it does not apply; throws an Error that says what was wrong. */
  check(make: ProviderFactory, tools: ConformanceTools): Promise<{ skipped: string } | undefined>;
}

export interface CaseResult {
  name: string;
  outcome: "passed" | "failed" | "skipped";
  detail: string;
  ms: number;
}

export const CASES: readonly ConformanceCase[] = [...RULE_CASES, ...LIFE_CASES];

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
  try {
    const skipped = await one.check(make, tools);
    answer = skipped ? result("skipped", skipped.skipped) : result("passed", "");
  } catch (error) {
    answer = result("failed", error instanceof Error ? error.message : String(error));
  }
  try {
    await terminateAll(make(), tools);
  } catch (error) {
    const left = `what the case started could not be terminated: ${String(error)}`;
    return { ...answer, outcome: "failed", detail: answer.detail ? `${answer.detail}; ${left}` : left };
  }
  return answer;
}
