/** The type of a conformance case, and the tools it gets. */
import type { Wire } from "./conformance-wire.ts";
import type { Handle, Offer, Provider, ProviderPlugin } from "./provider.ts";
import type { Need } from "./spec.ts";

/** The tools that the runner gives to every case. */
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
  /** A variable of the server that must never reach the work: name and value. */
  canary: { name: string; value: string };
  sleep(ms: number): Promise<void>;
  /** Longest wait for work to begin or end, in milliseconds: seconds for processes, minutes for rented machines. */
  patienceMs: number;
  /**
   * `describe` knows exit codes. Vendors of rented machines do not: the trainer on the machine reports its own
   * exit.
   */
  exitCodes: boolean;
  /** Handles to terminate at the end of the case, whatever its result. */
  cleanup: Handle[];
  /** Every request of the plugin to its vendor. */
  wire: Wire;
  /** Secrets of the configuration; none of them may be in a request body. */
  secrets: string[];
  /** The offer that machines are rented with; chosen by the first case that needs one. */
  offer: Offer | null;
}

/**
 * Creates a provider as a restarted server would, without earlier in-memory state. `config` replaces the working one.
 */
export type ProviderFactory = (config?: Record<string, unknown>) => Provider;

export interface ConformanceCase {
  name: string;
  /** Machines that it rents at a real vendor; absent = it breaks requests, and runs against a fake only. */
  rents?: number;
  /** Returns nothing when it passed, or why it does not apply. Throws an Error that describes the failure. */
  check(make: ProviderFactory, tools: ConformanceTools): Promise<{ skipped: string } | undefined>;
}
