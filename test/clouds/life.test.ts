/**
 * What happens to rented machines in their life, at every vendor: no room, raised prices, lost keys, preemption, clocks
 * that differ, people in the console, and a server that restarts.
 */
import { describe, expect, test } from "bun:test";
import { isProviderFailure } from "../../src/compute/providers/host.ts";
import type { LaunchSpec, Offer, ProviderFailure } from "../../src/contract/provider.ts";
import { FakeCloud } from "../support/fake-cloud/core.ts";
import { cloudLab, endAs, launchAs, launchContext, NEED, sweepAs } from "../support/fake-cloud/lab.ts";
import { VENDORS } from "../support/fake-cloud/vendors.ts";

const SPEC: LaunchSpec = { kind: "train", need: NEED, image: null, argv: null, env: {} };

async function failureOf(work: Promise<unknown>): Promise<ProviderFailure> {
  const error = await work.then(
    () => null,
    (problem: unknown) => problem,
  );
  if (!isProviderFailure(error)) throw new Error(`not a failure of the contract: ${String(error)}`);
  return error;
}

describe.each(Object.keys(VENDORS))("%s", (vendor) => {
  const { plugin, dialect, config } = VENDORS[vendor] as (typeof VENDORS)[string];
  const regions = dialect.regions.map(({ id }) => id);
  const open = (more: Record<string, unknown> = {}, seed = 1) =>
    cloudLab(plugin, new FakeCloud(dialect, { seed }), { ...config, ...more });

  test("offers name region, type, price and size, cheapest first; impossible needs get none", async () => {
    const lab = open();
    const offers = await lab.provider.offers(NEED);
    expect(offers.length).toBeGreaterThan(3);
    const prices = offers.map(({ pricePerHour }) => pricePerHour);
    expect(prices).toEqual([...prices].sort((a, b) => a - b));
    for (const offer of offers) {
      expect(offer).toMatchObject({ market: "on_demand", currency: "USD", local: false, available: true });
      expect(regions).toContain(offer.region ?? "");
      expect(dialect.types.map(({ id }) => id)).toContain(offer.machineType ?? "");
    }
    const ceiling = prices[0] as number;
    const cheap = await lab.provider.offers({ ...NEED, max_price_per_hour: ceiling });
    expect(cheap.every(({ pricePerHour }) => pricePerHour <= ceiling)).toBe(true);
    expect(await lab.provider.offers({ ...NEED, gpu_memory_mb: 999_999 })).toEqual([]);
  });

  test("regions of the settings hold for offers and machines", async () => {
    const only = regions[1] as string;
    const lab = open({ regions: only });
    const offers = await lab.provider.offers(NEED);
    expect(new Set(offers.map(({ region }) => region))).toEqual(new Set([only]));
    lab.cloud.faults.add("wrong_region");
    const { handle, failures } = await launchAs(lab, "att-1");
    expect(failures.map(({ reason }) => reason)).toEqual(["wrong_region"]);
    expect(handle).not.toBeNull();
    lab.cloud.advance(dialect.endMs ?? 0);
    expect(lab.cloud.alive().map(({ region }) => region)).toEqual([only]);
  });

  test("no capacity in two of three regions: the third gets the work, and nobody asks the full ones twice", async () => {
    const lab = open();
    const offers = await lab.provider.offers(NEED);
    for (const region of regions.slice(0, 2)) lab.cloud.setCapacity(region, 0);
    // Offers of a moment ago: the launch finds out.
    const tried: string[] = [];
    for (const offer of offers) {
      const result = await lab.provider.launch(SPEC, offer, launchContext(lab.cloud, "att-1")).catch((error) => error);
      tried.push(String(offer.region));
      if (!isProviderFailure(result)) break;
      expect(result.providerErrorKind).toBe("no_capacity");
      expect(result.vendorCode).toBeTruthy();
    }
    expect(new Set(tried).size).toBe(tried.length);
    expect(lab.cloud.alive().map(({ region }) => region)).toEqual([regions[2] as string]);
    lab.cloud.advance(60_000);
    const again = (await lab.provider.offers(NEED)).filter(({ available }) => available);
    expect(new Set(again.map(({ region }) => region))).toEqual(new Set([regions[2] as string]));
  });

  test("nothing free anywhere is an offer to wait for, not the end of the job", async () => {
    const lab = open();
    for (const region of regions) lab.cloud.setCapacity(region, 0);
    const offers = await lab.provider.offers(NEED);
    expect(offers.length).toBeGreaterThan(0);
    expect(offers.every(({ available }) => !available)).toBe(true);
  });

  test("a price raised between offer and launch is refused before anything is rented", async () => {
    const lab = open();
    const [offer] = await lab.provider.offers(NEED);
    const { machineType, pricePerHour } = offer as Offer;
    lab.cloud.setPrice(String(machineType), pricePerHour * 3);
    const context = launchContext(lab.cloud, "att-1", pricePerHour);
    const failure = await failureOf(lab.provider.launch(SPEC, offer as Offer, context));
    expect([failure.providerErrorKind, failure.reason]).toEqual(["no_capacity", "price_raised"]);
    expect(lab.cloud.machines.size).toBe(0);
  });

  test("a machine that turns out dearer than its limit is given back at once", async () => {
    const lab = open();
    lab.cloud.faults.add("price_raised");
    const [offer] = await lab.provider.offers(NEED);
    const context = launchContext(lab.cloud, "att-1", (offer as Offer).pricePerHour);
    const outcome = await lab.provider.launch(SPEC, offer as Offer, context).then(
      (handle) => lab.provider.describe(handle),
      (error: unknown) => error,
    );
    // A vendor that answers without the price shows it in the list: there the host sees it.
    if (isProviderFailure(outcome)) {
      expect(outcome.reason).toBe("price_raised");
      lab.cloud.advance(dialect.endMs ?? 0);
      expect(lab.cloud.alive()).toEqual([]);
    } else expect(outcome).toMatchObject({ pricePerHour: (offer as Offer).pricePerHour * 2 });
  });

  test("a key that is revoked in mid-run is `auth` everywhere, and the machine is found when it works again", async () => {
    const lab = open();
    const { handle } = await launchAs(lab, "att-1");
    lab.cloud.advance(dialect.bootMs + 60_000);
    lab.cloud.account.revoked = true;
    const [offer] = [{ id: "x", machineType: dialect.types[0]?.id, region: regions[0], gpus: 1 } as unknown as Offer];
    for (const work of [
      () => lab.provider.describe(handle as NonNullable<typeof handle>),
      () => lab.provider.terminate(handle as NonNullable<typeof handle>),
      () => lab.provider.listOwned(lab.installation),
      () => lab.provider.offers(NEED),
      () => lab.provider.launch(SPEC, offer as Offer, launchContext(lab.cloud, "att-2")),
    ]) {
      const failure = await failureOf(work());
      expect(failure.providerErrorKind).toBe("auth");
      expect(failure.vendorCode).toBeTruthy();
      expect(failure.message).not.toContain(lab.cloud.account.apiKey);
    }
    const calls = lab.cloud.calls.length;
    expect(calls).toBeLessThan(14);
    expect(lab.cloud.alive()).toHaveLength(1);
    lab.cloud.account.revoked = false;
    lab.cloud.advance(60_000);
    expect(await sweepAs(lab)).toEqual(["att-1"]);
    expect(lab.cloud.alive()).toEqual([]);
  });

  test("a key that may only read fails at launch as `auth`, and `inspect` names the permission", async () => {
    const lab = open();
    lab.cloud.account.readOnly = true;
    const { failures } = await launchAs(lab, "att-1");
    expect(failures.map(({ providerErrorKind }) => providerErrorKind)).toEqual(["auth"]);
    expect(lab.cloud.counts().create).toBe(1);
    const report = await lab.provider.inspect?.();
    expect(report?.checks.some(({ outcome }) => outcome !== "passed")).toBe(true);
    expect(report?.checks.every(({ message }) => message.length > 10)).toBe(true);
  });

  test("inspect of a working account passes what can be checked, and starts nothing", async () => {
    const lab = open();
    const report = await lab.provider.inspect?.();
    expect(report?.checks.filter(({ outcome }) => outcome === "failed")).toEqual([]);
    expect(report?.checks.some(({ outcome }) => outcome === "passed")).toBe(true);
    expect(lab.cloud.machines.size).toBe(0);
    lab.cloud.account.revoked = true;
    lab.cloud.advance(60_000);
    const refused = await lab.restart().inspect?.();
    expect(refused?.checks[0]?.outcome).toBe("failed");
  });

  test("five launches of one key at once and one after a restart are one machine with one handle", async () => {
    const lab = open();
    const [offer] = await lab.provider.offers(NEED);
    // Each has a limiter of its own, as servers one after the other have.
    lab.cloud.limited = false;
    const go = () => lab.restart().launch(SPEC, offer as Offer, launchContext(lab.cloud, "att-1"));
    const handles = await Promise.all([go(), go(), go(), go(), go()]);
    handles.push(await go());
    expect(new Set(handles.map((handle) => JSON.stringify(handle))).size).toBe(1);
    expect(lab.cloud.machines.size).toBe(1);
  });

  test("machines of other people and installations are neither listed nor ended", async () => {
    const lab = open();
    const [type] = dialect.types;
    lab.cloud.create({ name: "my-notebook", type: String(type?.id), regions: [] });
    lab.cloud.create({ name: "ftl-otherinst-att-1", type: String(type?.id), regions: [], ...other });
    await launchAs(lab, "att-1");
    expect((await lab.provider.listOwned(lab.installation)).map(({ handle }) => handle.key)).toContain("att-1");
    await endAs(lab, { provider: plugin.id, key: "att-1" });
    expect(await sweepAs(lab)).toEqual([]);
    expect(lab.cloud.alive().map(({ name }) => name)).toEqual(["my-notebook", "ftl-otherinst-att-1"]);
  });
  const other = {
    env: { FTL_INSTALLATION: "otherinst", FTL_KEY: "att-1" },
    tags: { "ftl-installation": "otherinst", "ftl-key": "att-1" },
  };

  test("labels, state and start survive a restart; a machine stopped by hand is a machine that broke", async () => {
    const lab = open();
    const { handle } = await launchAs(lab, "att-1");
    lab.cloud.advance(600_000);
    lab.cloud.limited = false;
    const [owned] = (await lab.restart().listOwned(lab.installation)).filter(({ shared }) => !shared);
    expect(owned).toMatchObject({ labels: { job: "job-of-att-1" }, state: "running" });
    const status = await lab.restart().describe(owned?.handle ?? (handle as NonNullable<typeof handle>));
    expect(status.machine).toBe(String(handle?.machine));
    lab.cloud.preempt(String(handle?.machine));
    lab.cloud.advance(60_000);
    const after = await lab.provider.describe(handle as NonNullable<typeof handle>);
    expect(after).toMatchObject({ state: "exited", exitCode: null, preempted: true });
    expect(after.reason).toBeTruthy();
    expect(await endAs(lab, handle as NonNullable<typeof handle>)).not.toBeNull();
    expect(lab.cloud.alive()).toEqual([]);
  });

  test.each([-2, 2])("a vendor whose clock is %d hours off gets the same machine for the same time", async (hours) => {
    const lab = open();
    lab.cloud.skewMs = hours * 3_600_000;
    const { handle } = await launchAs(lab, "att-1");
    lab.cloud.advance(dialect.bootMs);
    for (let minutes = 0; minutes < 50; minutes += 5) {
      lab.cloud.advance(300_000);
      expect((await lab.provider.describe(handle as NonNullable<typeof handle>)).state).toBe("running");
    }
    expect(await endAs(lab, handle as NonNullable<typeof handle>)).not.toBeNull();
    expect(lab.cloud.alive()).toEqual([]);
  });

  test("twenty machines watched for ten minutes cost as many requests as one", async () => {
    const lab = open();
    const handles = [];
    for (let i = 0; i < 20; i++) handles.push((await launchAs(lab, `att-${i}`)).handle);
    const before = lab.cloud.calls.length;
    for (let round = 0; round < 120; round++) {
      lab.cloud.advance(5000);
      await Promise.all(handles.map((handle) => lab.provider.describe(handle as NonNullable<typeof handle>)));
    }
    expect(lab.cloud.calls.length - before).toBeLessThanOrEqual(121);
    expect(lab.cloud.calls.filter(({ status }) => status === 429)).toEqual([]);
  });

  test("settings that cannot work are named by field", async () => {
    const broken = { image: "trainer:latest", api_key: "", regions: "no such place!", api_url: "ftp://x" };
    const answer = await open(broken).provider.validate();
    const fields = answer.ok ? [] : answer.problems.map(({ field }) => field);
    expect(fields.sort()).toEqual(["api_key", "api_url", "image", "regions"]);
  });
});
