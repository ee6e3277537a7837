/**
 * Rows of the fault table about the three deadlines of a rented machine, each with the other two switched off, and
 * about machines that nobody knows any more.
 */
import { join } from "node:path";
import type { LaunchSpec } from "../../../src/contract/provider.ts";
import { attempt } from "../../../src/db/schema/jobs.ts";
import { fastClock } from "../../support/fake-cloud/clock.ts";
import { FakeCloud } from "../../support/fake-cloud/core.ts";
import { cloudLab, launchContext, NEED } from "../../support/fake-cloud/lab.ts";
import { serveCloud } from "../../support/fake-cloud/server.ts";
import { VENDORS } from "../../support/fake-cloud/vendors.ts";
import type { RemoteRow } from "./remote-row.ts";
import { STEP_MS, type World } from "./remote-world.ts";
import type { Outcome } from "./row.ts";

const TRAINER = join(import.meta.dir, "../../../trainer");
const SPEC: LaunchSpec = { kind: "train", need: NEED, image: null, argv: ["sleep", "600"], env: {} };
const HOUR = 3_600_000;

/**
 * The trainer's own deadline: the program of the image, in a pod of the fake RunPod that has no deadline at its vendor
 * and no server that sweeps.
 */
export async function machineDeadline(): Promise<Outcome> {
  const python = Bun.which("python3");
  if (!python) throw new Error("python3 is needed");
  const { plugin, dialect, config } = VENDORS.runpod as (typeof VENDORS)[string];
  let url = "";
  const cloud = new FakeCloud(
    { ...dialect, bootMs: 100 },
    {
      clock: fastClock(1),
      onBoot: ({ id, env }) => {
        const own = {
          FTL_VENDOR_API: url,
          RUNPOD_POD_ID: id,
          RUNPOD_API_KEY: cloud.account.apiKey,
          PYTHONPATH: TRAINER,
        };
        const child = Bun.spawn([python, "-m", "finetune_trainer"], {
          env: { PATH: process.env.PATH, ...env, ...own },
          stdout: "ignore",
          stderr: "ignore",
        });
        return { end: () => child.kill("SIGKILL") };
      },
    },
  );
  const served = await serveCloud(cloud);
  url = served.url;
  try {
    const lab = cloudLab(plugin, cloud, config, url);
    const [offer] = await lab.provider.offers(NEED);
    if (!offer) throw new Error("no offer");
    const deadline = Date.now() + 2000;
    await lab.provider.launch(SPEC, offer, { ...launchContext(cloud, "att-deadline"), deadline });
    const [machine] = cloud.alive();
    if (machine?.endsAt !== null) throw new Error("the vendor has a deadline");
    const calls = cloud.calls.length;
    while (cloud.alive().length > 0 && Date.now() < deadline + 20_000) await Bun.sleep(50);
    const late = (Date.now() - deadline) / 1000;
    if (cloud.alive().length > 0 || late > 10) throw new Error(`still there ${late} s after the deadline`);
    if (cloud.calls.slice(calls).some(({ operation }) => operation !== "delete")) throw new Error("a server asked");
    return { times: 1, seen: `the pod deleted itself ${Math.max(0, late).toFixed(1)} s after its deadline` };
  } finally {
    await served.stop();
  }
}

/** A machine whose server never comes back; it is gone by itself `limitS` seconds after its deadline, or throws. */
async function vendorDeadline(world: World): Promise<string> {
  const id = await world.train({ total_s: 600 });
  await world.atStep(3);
  const [machine] = world.cloud.alive();
  const endsAt = machine?.endsAt ?? null;
  if (endsAt === null) throw new Error("the vendor has no deadline");
  world.up = false;
  const deadline = ((await world.attempts())[0]?.createdAt ?? 0) + 600_000 + HOUR;
  await world.until("the vendor's deadline", () => world.cloud.alive().length === 0, (2 * HOUR) / STEP_MS);
  const late = ((machine?.goneAt ?? 0) - deadline) / 1000;
  if (Math.abs(late) > 5) throw new Error(`gone ${late} s after the deadline`);
  await world.restart();
  await world.settle();
  const { state } = await world.job(id);
  return `gone ${late.toFixed(0)} s after the deadline, then the job ${state}`;
}

/** A machine with the key of an attempt that the database does not have: an old backup was restored. */
async function unknownMachine(world: World): Promise<string> {
  const [offer] = await world.provider.offers(NEED);
  if (!offer) throw new Error("no offer");
  await world.provider.launch(SPEC, offer, launchContext(world.cloud, "att-unknown"));
  const from = world.clock.now();
  await world.until("the sweep", () => world.cloud.alive().length === 0, 30);
  const known = await world.app.ctx.db.select().from(attempt);
  if (known.some(({ id }) => id === "att_unknown")) throw new Error("the attempt is known");
  return `gone after ${((world.clock.now() - from) / 1000).toFixed(0)} s`;
}

/** Half a minute in which the attempt of a machine may still be stored, then the sweep. */
const UNKNOWN = { afterEnd: 50 };

export const DEADLINE_ROWS: readonly RemoteRow[] = [
  {
    fault: "the deadline: only RunPod's own works; the server is gone, the trainer ignores it",
    expected: "the vendor deletes the machine at the deadline",
    vendors: ["runpod"],
    settings: { spot: true },
    inject: vendorDeadline,
  },
  {
    fault: "the deadline: only the server's works; the trainer never ends, the vendor has none",
    expected: "deleted at the time limit of the job",
    ends: "failed",
    outcomes: ["total_timeout"],
    async inject(world) {
      world.manners.endless = true;
      await world.train({ total_s: 300 });
      return undefined;
    },
  },
  {
    fault: "a machine of an attempt that the database does not have",
    expected: "the sweep deletes it",
    allowed: UNKNOWN,
    short: true,
    inject: unknownMachine,
  },
  {
    fault: "the same, and the first two deletions have no effect",
    expected: "the sweep asks until it is gone",
    allowed: { afterEnd: 70 },
    inject(world) {
      world.cloud.faults.add("stuck_delete", { times: 2 });
      return unknownMachine(world);
    },
  },
];
