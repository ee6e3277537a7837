/** What must hold after every fault of rented machines: compares what the fake clouds know with the database. */
import { and, eq, gt } from "drizzle-orm";
import { meterInterval } from "../../../src/db/schema/billing.ts";
import { keyOf } from "../../../src/training/attempts/launch.ts";
import type { Machine } from "../../support/fake-cloud/core.ts";
import { readFrom } from "./bench.ts";
import { checkInvariants } from "./invariants.ts";
import { variablesOf } from "./remote-trainer.ts";
import { STEP_MS, type World } from "./remote-world.ts";

/** What a row allows beyond the rule, because the fault itself takes that long. In seconds. */
export interface Allowed {
  /** How long a machine may be there after the end of its attempt. */
  afterEnd?: number;
  /** How long two machines of one launch may be there. */
  double?: number;
  /** How long the server could not see that a machine was gone, because it was down or a request hung. */
  unseen?: number;
}

/** The sweep's interval, the three seconds in which a trainer may exit by itself, and the requests. */
const AFTER_END_S = STEP_MS / 1000 + 3 + 4;
/** Between two looks at a machine, with the requests. */
const LOOK_S = STEP_MS / 1000 + 2;
/** Whole micro-dollars, for each machine. */
const ROUNDING_USD = 2e-6;

export interface Account {
  machines: number;
  attempts: number;
  outcomes: string[];
  afterEndS: number;
  doubleS: number;
  vendorUsd: number;
  ledgerUsd: number;
}

interface Seen extends Machine {
  key: string;
  from: number;
  /** It costs nothing from then on. */
  to: number;
  /** Seconds that the vendor itself takes for a deletion. */
  endS: number;
}

function machinesOf(world: World): Seen[] {
  return Object.values(world.clouds).flatMap((cloud) =>
    [...cloud.machines.values()].map((one) => ({
      ...one,
      key: variablesOf(one).FTL_KEY ?? one.tags["ftl-key"] ?? one.name,
      from: one.createdAt - cloud.skewMs,
      to: Math.min(one.goneAt ?? cloud.now(), one.endedAt ?? Number.POSITIVE_INFINITY) - cloud.skewMs,
      endS: (cloud.dialect.endMs ?? 0) / 1000,
    })),
  );
}

/** The longest that two of the machines were there together, in seconds. */
function together(machines: readonly Seen[]): number {
  let longest = 0;
  for (const [n, one] of machines.entries())
    for (const other of machines.slice(n + 1))
      longest = Math.max(longest, Math.min(one.to, other.to) - Math.max(one.from, other.from));
  return longest / 1000;
}

/**
 * Waits until jobs and machines are over, then checks: no machine outlives its job, no work is launched twice, every
 * dollar is in the ledger, nothing is lost (I1 to I8). Throws with everything that is wrong.
 */
export async function accountFor(world: World, allowed: Allowed = {}): Promise<Account> {
  await world.settle();
  const { app } = world;
  const attempts = await world.attempts();
  const machines = machinesOf(world);
  const wrong: string[] = [];

  let afterEndS = 0;
  for (const one of machines) {
    const mine = attempts.find(({ id }) => keyOf(id) === one.key);
    const late = (one.to - Math.max(mine?.endedAt ?? one.from, one.from)) / 1000;
    afterEndS = Math.max(afterEndS, late);
    const most = (allowed.afterEnd ?? AFTER_END_S) + one.endS;
    if (late > most) wrong.push(`machine ${one.id} was there ${late} s after its job, at most ${most} s are allowed`);
  }

  const byKey = Map.groupBy(machines, ({ key }) => key);
  let doubleS = 0;
  for (const [key, mine] of byKey) {
    const seconds = together(mine);
    doubleS = Math.max(doubleS, seconds);
    if (seconds > (allowed.double ?? 0)) wrong.push(`two machines of ${key} for ${seconds} s`);
    const called = world.trainers.filter((one) => one.key === key && one.called);
    if (called.length > 1) wrong.push(`${called.length} trainers of ${key} called home`);
  }

  const charged = await app.ctx.db
    .select({ quantity: meterInterval.quantity })
    .from(meterInterval)
    .where(and(eq(meterInterval.meter, "provider_micros"), gt(meterInterval.n, world.ledgerFrom)));
  const ledgerUsd = charged.reduce((sum, { quantity }) => sum + quantity, 0) / 1e6;
  const vendorUsd = Object.values(world.clouds).reduce((sum, cloud) => sum + cloud.cost(), 0);
  // A vendor does not say when a machine ended: the server sees it in its next look.
  const seconds = LOOK_S + (allowed.unseen ?? 0);
  const look = machines.reduce((sum, { pricePerHour }) => sum + (pricePerHour / 3600) * seconds, 0);
  const over = ledgerUsd - vendorUsd;
  if (over < -ROUNDING_USD * machines.length || over > look + ROUNDING_USD)
    wrong.push(
      `the vendor charged $${vendorUsd.toFixed(6)}, the ledger has $${ledgerUsd.toFixed(6)}, ${look} for looks`,
    );

  if (wrong.length > 0) throw new Error(`${wrong.join("; ")}. ${await world.state()}`);
  const database = `${app.dir}/lab.db`;
  await checkInvariants(
    {
      dir: app.dir,
      hands: { working: () => [], leftovers: () => [] },
      rows: (sql, args = []) => readFrom(database, sql, args),
      acknowledged: [],
    },
    0,
  );
  const outcomes = attempts.map(({ outcome }) => outcome ?? "");
  return { machines: machines.length, attempts: attempts.length, outcomes, afterEndS, doubleS, vendorUsd, ledgerUsd };
}
