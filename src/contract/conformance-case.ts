/** What a case of the conformance suite is, and what it is given. */
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

/**
 * Makes a provider as a freshly started server would; everything it knew in memory is forgotten. `config` replaces the
 * working one.
 */
export type ProviderFactory = (config?: Record<string, unknown>) => Provider;

export interface ConformanceCase {
  name: string;
  /** Returns nothing when it passed, or why it does not apply; throws an Error that says what was wrong. */
  check(make: ProviderFactory, tools: ConformanceTools): Promise<{ skipped: string } | undefined>;
}
