/**
 * Faults of rented machines at AWS: its own client against moto, with the server's launch and walk through the offers.
 * The invariant of each row is one machine at most, found by its tags.
 */
import { afterAll, beforeAll, beforeEach } from "bun:test";
import { eq } from "drizzle-orm";
import aws from "../../plugins/aws/index.ts";
import { attempt } from "../../src/db/schema/jobs.ts";
import { begin } from "../../src/training/attempts/begin.ts";
import { createJob } from "../../src/training/jobs/store.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { trainSpec } from "../support/attempt.ts";
import { type AwsLab, awsLab, NEED } from "../support/aws-lab.ts";
import { motoMissing, startMoto } from "../support/moto.ts";
import { row } from "./support/row.ts";

let moto: Awaited<ReturnType<typeof startMoto>>;
let t: TestApp;
let lab: AwsLab;
let number = 0;
const skip = motoMissing ? "moto is not installed" : null;

beforeAll(async () => {
  if (skip) return;
  moto = await startMoto();
  t = await createTestApp({ config: { trainer_url: "https://lab.example", trainer_probe: false } });
}, 110_000);
afterAll(async () => {
  await moto?.stop();
  await t?.close();
});
beforeEach(() => {
  if (!skip) lab = awsLab(moto.url, `faults-${++number}`);
});

const add = (about: { row: string; fault: string; expected: string }, inject: () => Promise<string>) =>
  row(
    { ...about, provider: "aws", skip },
    () => null,
    async () => ({ times: 1, seen: await inject() }),
  );

/** The machines of this installation that AWS runs. */
const machines = async () => (await lab.make().listOwned(`faults-${number}`)).filter(({ resource }) => !resource);

function must(what: string, ok: boolean): void {
  if (!ok) throw new Error(`not true: ${what}`);
}

/** Starts a training at AWS the server's way. @returns its only attempt */
async function train(spot: boolean) {
  const provider = lab.make({ spot, instance_types: "g5.xlarge" });
  const entry = { plugin: aws, provider };
  t.ctx.compute = { list: () => [entry], get: (id) => (id === "aws" ? entry : null) };
  const base = trainSpec();
  const made = await createJob(t.ctx, t.actor("admin"), {
    kind: "train",
    name: "aws",
    spec: { ...base, need: { ...base.need, ...NEED } },
    request: {},
    place: { estimateLowS: 600, estimateHighS: 1200 },
    maxMicros: null,
  });
  const work: Promise<void>[] = [];
  await begin(t.ctx, made.id, { providers: [entry], hostId: null, gpus: [], asked: true }, (one) => work.push(one));
  await Promise.all(work);
  const [only, ...more] = await t.ctx.db.select().from(attempt).where(eq(attempt.jobId, made.id));
  must("one attempt", only !== undefined && more.length === 0);
  if (!only) throw new Error("no attempt");
  return { only, provider };
}

/** Asks for the end of a machine until it is gone. @returns how often */
async function end(handle: Awaited<ReturnType<AwsLab["launch"]>>): Promise<number> {
  for (let times = 1; times <= 8; times++) if ((await lab.make().terminate(handle)).gone) return times;
  throw new Error("the machine is still there");
}

add(
  { row: "a1", fault: "AWS: no capacity in two of three zones", expected: "the third zone, in the same attempt" },
  async () => {
    const offers = await lab.make({ spot: false, instance_types: "g5.xlarge" }).offers(NEED);
    const zones = [...new Set(offers.flatMap(({ zone }) => zone ?? []))].slice(0, 3);
    const open = zones.at(-1);
    must("three zones", zones.length === 3);
    for (const zone of new Set(offers.flatMap(({ zone: one }) => one ?? [])))
      if (zone !== open)
        lab.world.fail({
          action: "RunInstances",
          zone,
          code: "InsufficientInstanceCapacity",
          status: 500,
          times: 9,
        });
    const { only } = await train(false);
    must(`in ${open}, not ${only.offer.zone}`, only.offer.zone === open);
    must("it is starting", only.state === "starting");
    const [machine, ...more] = await machines();
    must("one machine", machine !== undefined && more.length === 0);
    if (machine) await end(machine.handle);
    return `in ${only.offer.zone}, after ${lab.world.count("RunInstances") - 1} refusals; 1 machine, 1 attempt`;
  },
);

add(
  { row: "a2", fault: "AWS: creating a machine: done, the answer is lost", expected: "found, one machine" },
  async () => {
    lab.world.fail({ action: "RunInstances", after: true });
    const { only } = await train(false);
    const found = await machines();
    must(`one machine, not ${found.length}`, found.length === 1);
    must("the attempt has its handle", found[0]?.handle.instance === only.handle?.instance);
    if (found[0]) await end(found[0].handle);
    return `${lab.world.count("RunInstances")} requests, 1 machine, which the attempt has`;
  },
);

add(
  {
    row: "a3",
    fault: "AWS: a spot machine is taken back",
    expected: "reported as preempted with AWS's code; the next launch is another machine",
  },
  async () => {
    const { only, provider } = await train(true);
    must("a spot machine", only.offer.market === "spot");
    const [machine] = await machines();
    if (!machine || !only.handle) throw new Error("no machine");
    lab.world.taken.set(String(machine.handle.instance), "Server.SpotInstanceTermination");
    await lab.make().terminate(only.handle);
    const status = await provider.describe(only.handle);
    must("preempted", status.preempted === true);
    const next = await lab.launch("next");
    must("another machine", next.instance !== machine.handle.instance);
    await end(next);
    return `${status.state}, "${status.reason}"; another machine for the next attempt`;
  },
);

add(
  {
    row: "a4",
    fault: "AWS: deleting a machine: success, but the machine stays, twice",
    expected: "not believed; asked again until it is gone",
  },
  async () => {
    const { only } = await train(false);
    const [machine] = await machines();
    if (!machine || !only.handle) throw new Error("no machine");
    lab.world.fail({ action: "TerminateInstances", ignored: true, times: 2 });
    for (let n = 0; n < 2; n++) {
      const { gone } = await lab.make().terminate(only.handle);
      must("not said to be gone", !gone);
      must("it is still listed", (await machines()).length === 1);
    }
    const times = await end(only.handle);
    must("nothing is left", (await machines()).length === 0);
    return `two answers not believed; gone after ${times + 2} requests, nothing left`;
  },
);
