/**
 * Faults of rented machines at the fake clouds, with the bundled providers and the server's own queue, supervisor,
 * sweep and metering. `bun run faults --remote` runs the whole table; other runs a few of its rows.
 */
import { afterAll, beforeAll } from "bun:test";
import { FAULTS, type Fault, type Operation } from "../support/fake-cloud/faults.ts";
import { DEADLINE_ROWS, machineDeadline } from "./support/remote-deadlines.ts";
import { LIFE_ROWS } from "./support/remote-life.ts";
import { type Opened, type RemoteRow, remoteRow, WHOLE } from "./support/remote-row.ts";
import { remoteApp, type World } from "./support/remote-world.ts";
import { row } from "./support/row.ts";

let opened: Opened;
const renew = async () => {
  await opened?.app.close();
  opened = await remoteApp();
};
beforeAll(renew, 60_000);
afterAll(() => opened?.app.close());
let rows = 0;
const add = (about: RemoteRow) => remoteRow(() => opened, renew, ++rows, about);

/** What a fault of a request means, and what is special about its outcome. */
type About = Partial<RemoteRow> & { times?: number };

const OPERATIONS: Partial<Record<Operation, string>> = {
  create: "creating a machine",
  list: "listing machines",
  get: "reading a machine",
  delete: "deleting a machine",
  types: "reading prices",
};

const WORDS: Record<Fault, string> = {
  error_before: "error 500, nothing done",
  error_after: "error 500, but done",
  lost_answer: "done, the answer is lost",
  timeout: "no answer at all",
  duplicate_create: "two machines for one request",
  slow_delete: "the machine stays for two minutes",
  stuck_delete: "success, but the machine stays",
  no_capacity: "no capacity",
  zero_quota: "the quota is used up",
  no_balance: "the balance is used up",
  rate_limited: "429 with retry-after",
  rate_limited_silent: "429 without retry-after",
  list_lag: "the machine is listed a minute later",
  price_raised: "the machine costs twice the offer",
  wrong_region: "the machine is in another region",
  broken_list: "half of the answer",
};

const PAUSED = "shown to people, not asked again until an administrator tests the provider";

/** The administrator has corrected the account and tests the provider. */
async function corrected(world: World): Promise<string> {
  await world.until("the refusal", async () => (await world.attempts()).some((one) => one.outcome !== null));
  const asked = world.cloud.counts().create ?? 0;
  await world.step(60);
  const more = (world.cloud.counts().create ?? 0) - asked;
  if (more > 0) throw new Error(`${more} more requests to create a machine`);
  const [id = ""] = world.jobs;
  const { waiting = "" } = (await world.job(id)).progress;
  if (!waiting.includes("administrator")) throw new Error(`the job waits with "${waiting}"`);
  await world.app.json("POST", `/v1/admin/providers/${world.vendor}/test`);
  return "asked once in 5 minutes";
}

/** Special rows of faults, by fault and operation. Times in seconds. */
const SPECIAL: Partial<Record<string, About>> = {
  "error_before delete": { expected: "asked again until it is gone", allowed: { afterEnd: 30 } },
  "lost_answer create": { expected: "found by its name, one machine", short: true },
  "timeout create": { expected: "found by its name, one machine" },
  // The request hangs for half a minute, and the machine has gone at its beginning.
  "timeout delete": { expected: "the machine is gone at once", allowed: { unseen: 30 } },
  "duplicate_create create": { expected: "the second is deleted at once", allowed: { double: 20 }, short: true },
  "slow_delete delete": { expected: "asked until it is gone", allowed: { afterEnd: 135 } },
  "stuck_delete delete": {
    expected: "asked again until it is gone",
    times: 3,
    allowed: { afterEnd: 60 },
    short: true,
  },
  "no_capacity create": { expected: "the next offers, in the same attempt", times: 2, outcomes: ["succeeded"] },
  "zero_quota create": { expected: PAUSED, outcomes: ["launch_refused", "succeeded"] },
  "no_balance create": { expected: PAUSED, outcomes: ["launch_refused", "succeeded"] },
  "rate_limited delete": { expected: "asked again when allowed", allowed: { afterEnd: 30 } },
  "rate_limited_silent delete": { expected: "asked again when allowed", allowed: { afterEnd: 60 } },
  "price_raised create": { expected: "given back, or charged at its price" },
  "wrong_region create": { expected: "used, where no region is asked for" },
};

for (const [fault, operations] of Object.entries(FAULTS) as [Fault, readonly Operation[]][])
  for (const operation of operations) {
    const { times = 1, ...about } = SPECIAL[`${fault} ${operation}`] ?? {};
    const refused = about.expected === PAUSED;
    add({
      fault: `${OPERATIONS[operation]}: ${WORDS[fault]}${times > 1 ? `, ${times} times` : ""}`,
      expected: operation === "delete" ? "the machine is gone at once" : "tried again, one machine",
      ...about,
      async inject(world) {
        world.cloud.faults.add(fault, { operation, times });
        await world.train();
        const seen = refused ? await corrected(world) : undefined;
        await world.settle();
        const happened = world.cloud.faults.happened.get(fault) ?? 0;
        if (happened < times) throw new Error(`the fault happened ${happened} times`);
        return seen;
      },
    });
  }

for (const one of [...LIFE_ROWS, ...DEADLINE_ROWS]) add(one);

if (WHOLE) {
  const fault = "the deadline: only the trainer's works; there is no server, the vendor has none";
  const about = { row: String(++rows), fault, expected: "the pod deletes itself", provider: "runpod" };
  row(about, () => null, machineDeadline);
}
