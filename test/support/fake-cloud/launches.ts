/** Many launches one after the other with random faults, as the host makes them, and what became of their machines. */
import { FakeCloud, type Machine } from "./core.ts";
import type { Fault } from "./faults.ts";
import { cloudLab, endAs, launchAs, sweepAs } from "./lab.ts";
import { VENDORS } from "./vendors.ts";

/** How often each fault happens, for each request that can have it. */
const RATES = {
  error_before: 0.03,
  error_after: 0.05,
  lost_answer: 0.05,
  timeout: 0.02,
  duplicate_create: 0.05,
  list_lag: 0.05,
  slow_delete: 0.05,
  stuck_delete: 0.1,
  no_capacity: 0.05,
  rate_limited: 0.02,
  rate_limited_silent: 0.01,
  broken_list: 0.02,
};

/** A launch waits this long before the sweep looks for what it left, as the server does. */
const SWEEP_AFTER_MS = 35_000;
/** Time between two looks at a machine, and the most looks for a second one. */
const LOOK_MS = 30_000;
const MOST_LOOKS = 20;
/** The number of launches between two restarts of the server. */
const RESTART_EVERY = 10;

export interface LaunchFigures {
  vendor: string;
  launches: number;
  launched: number;
  machines: number;
  requests: number;
  faults: Map<Fault, number>;
  /** Launches that had two machines until their end. */
  doubles: number;
  /** Machines left at the end. */
  orphans: number;
  /** The longest that two machines of one launch were there together, in seconds. */
  longestDoubleS: number;
  /** The longest that a machine was there after its work was over, in seconds. */
  longestOrphanS: number;
  costUsd: number;
  /** Of that, machines beyond the one of their launch and machines after the end of their work. */
  wastedUsd: number;
}

const goneAt = ({ goneAt: at, createdAt }: Machine) => at ?? createdAt;

/** How long machines of one launch were there beyond the first that stayed, and after its end, in milliseconds. */
function lifeBeyond(machines: readonly Machine[], over: number) {
  const last = machines.reduce((a, b) => (goneAt(b) > goneAt(a) ? b : a), machines[0] as Machine);
  let [double, orphan, wasted] = [0, 0, 0];
  for (const one of machines) {
    const late = Math.max(0, goneAt(one) - Math.max(over, one.createdAt));
    const beside = one === last ? 0 : Math.max(0, goneAt(one) - Math.max(one.createdAt, last.createdAt) - late);
    double = Math.max(double, beside);
    orphan = Math.max(orphan, late);
    wasted += ((late + beside) / 3_600_000) * one.pricePerHour;
  }
  return { double, orphan, wasted };
}

/** Launches `count` times at a vendor of `VENDORS`; the same seed is the same run. */
export async function launchMany(vendor: string, count: number, seed: number): Promise<LaunchFigures> {
  const { plugin, dialect, config } = VENDORS[vendor] as (typeof VENDORS)[string];
  const lab = cloudLab(plugin, new FakeCloud(dialect, { seed }), config);
  const { cloud } = lab;
  cloud.faults.chaos(RATES);
  const overAt = new Map<string, number>();
  let launched = 0;
  let doubles = 0;
  for (let i = 0; i < count; i++) {
    const key = `att-${i}`;
    const { handle } = await launchAs(lab, key, { tries: 8 });
    // The host keeps nothing but the key of a launch that failed or that it did not hear of.
    if (i % RESTART_EVERY === RESTART_EVERY - 1) lab.provider = lab.restart();
    if (handle) {
      launched++;
      // The host looks while the machine boots and works; a deletion of a second one may fail as well.
      let alive = 2;
      const until = cloud.now() + dialect.bootMs + 120_000;
      for (let look = 0; cloud.now() < until || (look < MOST_LOOKS && alive > 1); look++) {
        await lab.provider.describe(handle).catch(() => null);
        cloud.advance(LOOK_MS);
        alive = cloud.alive().filter(({ name, goneAt: at }) => name.endsWith(`-${key}`) && at === null).length;
      }
      if (alive > 1) doubles++;
    }
    overAt.set(key, cloud.now());
    await endAs(lab, { provider: plugin.id, key });
    cloud.advance(SWEEP_AFTER_MS);
    await sweepAs(lab).catch(() => null);
  }
  cloud.faults.chaos({});
  for (let look = 0; look < 2; look++) {
    cloud.advance(600_000);
    await sweepAs(lab);
  }
  cloud.advance(600_000);
  const byKey = Map.groupBy(cloud.machines.values(), ({ name }) => name.slice(name.lastIndexOf("att-")));
  let [double, orphan, wasted] = [0, 0, 0];
  for (const [key, machines] of byKey) {
    const beyond = lifeBeyond(machines, overAt.get(key) ?? 0);
    double = Math.max(double, beyond.double);
    orphan = Math.max(orphan, beyond.orphan);
    wasted += beyond.wasted;
  }
  return {
    vendor,
    launches: count,
    launched,
    machines: cloud.machines.size,
    requests: cloud.calls.length,
    faults: cloud.faults.happened,
    doubles,
    orphans: cloud.alive().length,
    longestDoubleS: double / 1000,
    longestOrphanS: orphan / 1000,
    costUsd: cloud.cost(),
    wastedUsd: wasted,
  };
}
