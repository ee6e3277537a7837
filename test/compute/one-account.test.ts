/** Two providers of one installation with the same key of a vendor: neither ends or meters machines of the other. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { createHost } from "../../src/compute/providers/host.ts";
import type { LaunchSpec, Provider, ProviderPlugin } from "../../src/contract/provider.ts";
import { rentedMachine } from "../../src/db/schema/hosts.ts";
import { createInTurn } from "../../src/lib/in-turn.ts";
import { sweepOrphans } from "../../src/training/attempts/orphans.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { virtualClock } from "../support/fake-cloud/clock.ts";
import { FakeCloud } from "../support/fake-cloud/core.ts";
import { launchContext, NEED } from "../support/fake-cloud/lab.ts";
import { fetchOf } from "../support/fake-cloud/server.ts";
import { VENDORS } from "../support/fake-cloud/vendors.ts";

const SPEC: LaunchSpec = { kind: "train", need: NEED, image: null, argv: ["sleep", "600"], env: {} };
const clock = virtualClock(Date.now());
let t: TestApp;

beforeAll(async () => {
  t = await createTestApp({ ctx: { clock } });
});
afterAll(() => t.close());

/** The provider of a vendor under an id of its own. */
function entryOf(vendor: string, id: string, cloud: FakeCloud): { plugin: ProviderPlugin; provider: Provider } {
  const { plugin, config } = VENDORS[vendor] as (typeof VENDORS)[string];
  const parts = {
    installation: t.ctx.installation,
    clock,
    log: () => {},
    signal: t.ctx.signal,
    inTurn: createInTurn(),
    trainer: async () => ({ python: "python3", dir: t.dir }),
  };
  const host = { ...createHost(id, `${t.dir}/${id}`, parts), fetch: fetchOf(cloud) };
  const defaults = Object.fromEntries(plugin.config.map((field) => [field.name, field.default]));
  const own = { api_url: "http://127.0.0.1:9", api_key: cloud.account.apiKey };
  return { plugin: { ...plugin, id }, provider: plugin.create(host, { ...defaults, ...config, ...own }) };
}

for (const vendor of ["runpod", "lambda"])
  test(`${vendor}: a machine that one of them rented is the other's to leave alone`, async () => {
    const { dialect } = VENDORS[vendor] as (typeof VENDORS)[string];
    const cloud = new FakeCloud(dialect, { clock });
    const [one, other] = [entryOf(vendor, `${vendor}-a`, cloud), entryOf(vendor, `${vendor}-b`, cloud)];
    const sweep = async (entry: typeof one) => {
      t.ctx.compute = { list: () => [entry], get: (id) => (id === entry.plugin.id ? entry : null) };
      await sweepOrphans(t.ctx, new Map(), 0);
    };
    const [offer] = await one.provider.offers(NEED);
    if (!offer) throw new Error("no offer");
    const context = launchContext(cloud, `att-${vendor}`);
    await one.provider.launch(SPEC, offer, { ...context, labels: { ...context.labels, provider: one.plugin.id } });
    clock.advance(60_000);
    await sweep(other);
    clock.advance(60_000);
    await sweep(other);
    expect(cloud.counts().delete ?? 0).toBe(0);
    const metered = await t.ctx.db.select().from(rentedMachine).where(eq(rentedMachine.provider, other.plugin.id));
    expect(metered).toEqual([]);
    // They share the rate limit of the key and do not know it: a look may be refused.
    for (let n = 0; n < 4; n++) {
      await sweep(one);
      clock.advance(60_000);
    }
    expect(cloud.alive()).toEqual([]);
    const mine = await t.ctx.db.select().from(rentedMachine).where(eq(rentedMachine.provider, one.plugin.id));
    expect(mine.map(({ endedAt }) => endedAt !== null)).toEqual([true]);
  });
