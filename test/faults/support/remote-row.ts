/** A row of the fault table for rented machines: the same fault at several vendors, with one line for all of them. */
import { max } from "drizzle-orm";
import { meterInterval } from "../../../src/db/schema/billing.ts";
import { providerPause } from "../../../src/db/schema/hosts.ts";
import type { TestApp } from "../../support/app.ts";
import type { VirtualClock } from "../../support/fake-cloud/clock.ts";
import { type Account, type Allowed, accountFor } from "./remote-account.ts";
import { World } from "./remote-world.ts";
import { row } from "./row.ts";

/** True for the whole table (`bun run faults --remote`); otherwise only the rows of the short form run. */
export const WHOLE = process.env.FTL_FAULTS_REMOTE === "1";
const BOTH = ["runpod", "lambda"];

export interface RemoteRow {
  fault: string;
  expected: string;
  /** Runs in every test run as well. */
  short?: true;
  /** By default both. */
  vendors?: readonly string[];
  /** Vendors that are there beside. */
  beside?: readonly string[];
  /** Settings of the provider beside those that it needs. */
  settings?: Record<string, unknown>;
  /** How the trainings end; by default they succeed. */
  ends?: "succeeded" | "failed";
  /** Outcomes of the attempts, in order. */
  outcomes?: readonly string[];
  allowed?: Allowed;
  /** Starts trainings and injects the fault; what it returns is part of what was seen. */
  inject: (world: World) => Promise<string | undefined>;
}

const usd = (amount: number) => `$${amount.toFixed(4)}`;

function seenIn(account: Account): string {
  const { machines, outcomes, afterEndS, doubleS, vendorUsd, ledgerUsd } = account;
  return [
    `${machines} machine${machines === 1 ? "" : "s"}, ${outcomes.join(", ") || "no attempt"}`,
    `${afterEndS.toFixed(0)} s after the end`,
    ...(doubleS > 0 ? [`two for ${doubleS.toFixed(0)} s`] : []),
    `vendor ${usd(vendorUsd)}, ledger ${usd(ledgerUsd)}`,
  ].join("; ");
}

/** The application of a file. */
export interface Opened {
  app: TestApp;
  clock: VirtualClock;
}

/**
 * Defines the row as a test.
 * @param open gives the application of the file
 * @param renew replaces it: what a failed row leaves would disturb the next
 */
export function remoteRow(open: () => Opened, renew: () => Promise<void>, number: number, about: RemoteRow): void {
  const { short, vendors = BOTH, beside = [], settings, ends = "succeeded", outcomes, allowed, inject } = about;
  if (!WHOLE && !short) return;
  const provider = vendors.join(", ");
  row(
    { row: String(number), fault: about.fault, expected: about.expected, provider },
    () => null,
    async () => {
      const seen: string[] = [];
      for (const vendor of vendors) {
        const { app, clock } = open();
        // Pauses of a provider are those of an account, and each row has its own.
        await app.ctx.write((tx) => tx.delete(providerPause));
        const world = new World(app, clock, vendor, settings, beside);
        const [before] = await app.ctx.db.select({ n: max(meterInterval.n) }).from(meterInterval);
        world.ledgerFrom = before?.n ?? 0;
        try {
          const found = await inject(world);
          const account = await accountFor(world, allowed);
          const states = await Promise.all(world.jobs.map(async (id) => (await world.job(id)).state));
          if (states.some((state) => state !== ends)) throw new Error(`the jobs are ${states}; ${await world.state()}`);
          if (outcomes && String(account.outcomes) !== String(outcomes))
            throw new Error(`the attempts are ${account.outcomes}, not ${outcomes}`);
          seen.push(`${vendors.length > 1 ? `${vendor}: ` : ""}${found ? `${found}; ` : ""}${seenIn(account)}`);
        } catch (error) {
          await renew();
          throw new Error(`${vendor}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
        } finally {
          world.close();
        }
      }
      return { times: vendors.length, seen: seen.join(". ") };
    },
  );
}
