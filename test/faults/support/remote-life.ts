/** Rows of the fault table about rented machines: accounts, vendors, contact, and a server that is killed. */
import { NEED } from "../../support/fake-cloud/lab.ts";
import type { RemoteRow } from "./remote-row.ts";
import { type Killing, STEP_MS, type World } from "./remote-world.ts";

const MINUTE = 60_000 / STEP_MS;

/** The machine of the newest trainer that is alive. */
function machineOf(world: World): string {
  const alive = world.trainers.filter((one) => one.alive);
  return alive.at(-1)?.machine.id ?? "";
}

function require(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}

/** From which step the last trainer went on. */
const resumed = (world: World) => `resumed from step ${world.trainers.at(-1)?.resumedFrom ?? 0}`;

const SPOT = { vendors: ["runpod"], settings: { spot: true } };

const ACCOUNTS: RemoteRow[] = [
  {
    fault: "the API key is revoked while a machine runs, for three minutes",
    expected: "the job goes on; the machine is deleted when the key works",
    // The end of the job falls into the three minutes.
    allowed: { afterEnd: 200 },
    async inject(world) {
      await world.train();
      await world.atStep(3);
      world.cloud.account.revoked = true;
      await world.step(3 * MINUTE);
      world.cloud.account.revoked = false;
      return undefined;
    },
  },
  {
    fault: "the account may hold no machine",
    expected: "asked once, shown to people; runs after the correction",
    outcomes: ["launch_refused", "succeeded"],
    async inject(world) {
      world.cloud.account.quota = 0;
      await world.train();
      await world.step(10 * MINUTE);
      const asked = world.cloud.counts().create ?? 0;
      require(asked === 1, `asked ${asked} times`);
      world.cloud.account.quota = null;
      await world.app.json("POST", `/v1/admin/providers/${world.vendor}/test`);
      return "asked once in 10 minutes";
    },
  },
  {
    fault: "the price triples between offer and launch",
    expected: "not rented; the next offer within the limit of the job",
    async inject(world) {
      const offers = await world.provider.offers(NEED);
      const cheap = offers[0]?.machineType;
      const limit = offers.find(({ machineType }) => machineType !== cheap)?.pricePerHour ?? 0;
      await world.train({}, { max_price_per_hour: limit });
      world.cloud.setPrice(String(cheap), limit * 3);
      await world.settle();
      const paid = [...world.cloud.machines.values()].map(({ pricePerHour }) => pricePerHour);
      require(paid.length === 1 && (paid[0] ?? 0) <= limit, `rented for ${paid}`);
      return `at $${limit} per hour`;
    },
  },
  {
    fault: "every price is above the limit of the job",
    expected: "waits and says so, asks again, runs when a price falls",
    outcomes: ["succeeded"],
    short: true,
    async inject(world) {
      const [cheapest] = await world.provider.offers(NEED);
      const id = await world.train({}, { max_price_per_hour: 0.1 });
      await world.step(MINUTE);
      const { state, progress } = await world.job(id);
      const why = `Every offer costs more than the job's max_price_per_hour of $0.10; the cheapest costs $${cheapest?.pricePerHour.toFixed(2)} now`;
      require(state === "queued" && progress.waiting === why, `${state}, waits with "${progress.waiting}"`);
      require(world.cloud.machines.size === 0, "a machine was made");
      world.cloud.setPrice(String(cheapest?.machineType), 0.1);
      return undefined;
    },
  },
  {
    fault: "no capacity in two of three regions",
    expected: "the third region",
    short: true,
    async inject(world) {
      await world.provider.offers(NEED);
      const [first, second, third] = world.cloud.dialect.regions.map(({ id }) => id);
      for (const region of [first, second]) world.cloud.setCapacity(String(region), 0);
      await world.train();
      await world.settle();
      const used = new Set([...world.cloud.machines.values()].map(({ region }) => region));
      require(String([...used]) === third, `used ${[...used]}`);
      return `in ${third}`;
    },
  },
  {
    fault: "no capacity anywhere for ten minutes",
    expected: "the job waits, then runs",
    async inject(world) {
      const regions = world.cloud.dialect.regions.map(({ id }) => id);
      for (const id of regions) world.cloud.setCapacity(id, 0);
      await world.train();
      await world.step(10 * MINUTE);
      require(world.cloud.machines.size === 0, "a machine was made");
      for (const id of regions) world.cloud.setCapacity(id, 5);
      return undefined;
    },
  },
];

const MACHINES: RemoteRow[] = [
  {
    ...SPOT,
    fault: "a spot machine is taken back without notice",
    expected: "resumes elsewhere from the checkpoint",
    outcomes: ["preempted", "succeeded"],
    short: true,
    async inject(world) {
      await world.train();
      await world.atStep(7);
      world.cloud.preempt(machineOf(world));
      await world.settle();
      require(world.trainers.at(-1)?.resumedFrom === 5, resumed(world));
      return resumed(world);
    },
  },
  {
    ...SPOT,
    fault: "a spot machine is taken back with a notice of ten seconds",
    expected: "saves, resumes elsewhere from there",
    outcomes: ["preempted", "succeeded"],
    async inject(world) {
      await world.train();
      await world.atStep(7);
      world.cloud.preempt(machineOf(world), 10);
      await world.settle();
      require(world.trainers.at(-1)?.resumedFrom === 7, resumed(world));
      return resumed(world);
    },
  },
  {
    ...SPOT,
    fault: "a spot machine is taken back, and its vendor has no more",
    expected: "resumes at the other vendor",
    beside: ["lambda"],
    outcomes: ["preempted", "succeeded"],
    async inject(world) {
      await world.train();
      await world.atStep(7);
      // A deletion frees a place for another machine.
      for (const { id } of world.cloud.dialect.regions) world.cloud.setCapacity(id, -2);
      world.cloud.preempt(machineOf(world));
      await world.settle();
      require(world.clouds.lambda?.machines.size === 1, "nothing at the other vendor");
      return `${resumed(world)} at lambda`;
    },
  },
  {
    // Lambda knows no stopped machines.
    vendors: ["runpod"],
    fault: "a machine is stopped in the vendor's console",
    expected: "counts as lost, deleted, resumes elsewhere",
    async inject(world) {
      await world.train();
      await world.atStep(7);
      world.cloud.stop(machineOf(world));
      await world.settle();
      return resumed(world);
    },
  },
  {
    fault: "a machine is gone from one moment to the next",
    expected: "resumes on another one from the checkpoint",
    async inject(world) {
      await world.train();
      await world.atStep(7);
      const machine = world.cloud.get(machineOf(world));
      if (machine) machine.goneAt = world.cloud.now();
      await world.settle();
      require(world.trainers.at(-1)?.resumedFrom === 5, resumed(world));
      return resumed(world);
    },
  },
  {
    fault: "a machine runs and its trainer never calls home",
    expected: "deleted, one more machine, which works",
    outcomes: ["never_called_home", "succeeded"],
    async inject(world) {
      world.manners.mute = true;
      await world.train();
      await world.until("the end of the first", async () => (await world.attempts())[0]?.endedAt != null);
      world.manners.mute = false;
      return undefined;
    },
  },
  {
    fault: "no machine ever calls home",
    expected: "fails after the second one, with the reason",
    ends: "failed",
    outcomes: ["never_called_home", "never_called_home"],
    async inject(world) {
      world.manners.mute = true;
      await world.train();
      return undefined;
    },
  },
  {
    fault: "trainers do not reach the server for a minute",
    expected: "the same machine goes on",
    outcomes: ["succeeded"],
    async inject(world) {
      await world.train();
      await world.atStep(3);
      world.connected = false;
      await world.step(MINUTE);
      world.connected = true;
      return undefined;
    },
  },
  {
    fault: "a trainer does not reach the server for longer than its limit",
    expected: "deleted; another machine resumes; the first is refused",
    outcomes: ["no_progress", "succeeded"],
    async inject(world) {
      await world.train({ no_progress_s: 60 });
      await world.atStep(7);
      world.connected = false;
      await world.until("the end of the first", async () => (await world.attempts())[0]?.endedAt != null);
      world.connected = true;
      await world.settle();
      require(world.trainers.at(-1)?.resumedFrom === 5, resumed(world));
      return resumed(world);
    },
  },
  ...[-2, 2].map((hours) => ({
    fault: `the vendor's clock is two hours ${hours < 0 ? "slow" : "fast"}`,
    expected: "the same machine, the same cost",
    outcomes: ["succeeded"],
    async inject(world: World) {
      world.cloud.skewMs = hours * 3_600_000;
      await world.train();
      return undefined;
    },
  })),
];

/** The server is killed at a fail point while a training runs, and starts again after `downS` seconds. */
const killed =
  (point: Killing, before?: (world: World) => void, downS = 20) =>
  async (world: World) => {
    before?.(world);
    world.killAt(point);
    await world.train();
    await world.until(`the kill at ${point}`, () => !world.up);
    await world.step((downS * 1000) / STEP_MS);
    await world.restart();
    return undefined;
  };

function lagging({ cloud }: World): void {
  cloud.faults.add("list_lag");
}

const KILLS: RemoteRow[] = [
  {
    fault: "kill of the server before the machine is created",
    expected: "created once, by the next start",
    outcomes: ["succeeded"],
    inject: killed("launch.before"),
  },
  {
    fault: "kill of the server between creating the machine and storing that",
    expected: "found by its name, adopted; not created twice",
    outcomes: ["succeeded"],
    short: true,
    inject: killed("launch.started"),
  },
  {
    fault: "the same, and the machine is listed a minute later",
    expected: "its trainer calls: the same attempt goes on, no second machine",
    outcomes: ["succeeded"],
    short: true,
    inject: killed("launch.started", lagging),
  },
  {
    fault: "kill of the server before it deletes the machine of an ended job",
    expected: "deleted by the next start",
    // Twenty seconds without a server.
    allowed: { afterEnd: 45 },
    inject: killed("terminate.before"),
  },
  {
    fault: "kill of the server between deleting the machine and storing that",
    expected: "nothing left over, charged once",
    // Twenty seconds without a server.
    allowed: { unseen: 20 },
    inject: killed("terminate.gone"),
  },
  {
    fault: "kill of the server after an interval of a running machine is stored",
    expected: "charged once, without a hole",
    outcomes: ["succeeded"],
    inject: killed("meter.stored"),
  },
  {
    fault: "the server is away for ten minutes while a machine works",
    expected: "the same machine goes on",
    outcomes: ["succeeded"],
    async inject(world) {
      await world.train();
      await world.atStep(3);
      world.up = false;
      await world.step(10 * MINUTE);
      await world.restart();
      return undefined;
    },
  },
  {
    fault: "kill of the server after creating the machine, listed a minute later; it starts before the trainer calls",
    expected: "waits for the list; no second machine",
    outcomes: ["succeeded"],
    inject: killed("launch.started", lagging, 0),
  },
];

/** All rows of this file. */
export const LIFE_ROWS: readonly RemoteRow[] = [...ACCOUNTS, ...MACHINES, ...KILLS];
