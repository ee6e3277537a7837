/**
 * Plugin and fake on the vendor's own API description: Prism stands between them and refuses what breaks it on either
 * side. Prism takes 2 to 4 seconds to start, once per vendor.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Handle, LaunchSpec, Offer, ProviderErrorKind } from "../../src/contract/provider.ts";
import { FakeCloud } from "../support/fake-cloud/core.ts";
import type { Fault } from "../support/fake-cloud/faults.ts";
import { type CloudLab, cloudLab, endAs, launchAs, launchContext, NEED, sweepAs } from "../support/fake-cloud/lab.ts";
import { type Contract, startPrism } from "../support/fake-cloud/prism.ts";
import { serveCloud } from "../support/fake-cloud/server.ts";
import { VENDORS } from "../support/fake-cloud/vendors.ts";

const SPEC: LaunchSpec = { kind: "train", need: NEED, image: null, argv: null, env: { A: "b" } };

describe.each(Object.keys(VENDORS))("%s through its API description", (vendor) => {
  const { plugin, dialect, config, description } = VENDORS[vendor] as (typeof VENDORS)[string];
  let cloud: FakeCloud;
  let served: Awaited<ReturnType<typeof serveCloud>>;
  let prism: Contract;
  let lab: CloudLab;

  beforeAll(async () => {
    cloud = new FakeCloud(dialect);
    served = await serveCloud(cloud);
    prism = await startPrism(description, served.url);
    lab = cloudLab(plugin, cloud, config, prism.url);
  }, 90_000);
  afterAll(async () => {
    await prism?.stop();
    await served?.stop();
  });

  test("Prism lets the fake's answers pass and stops broken requests", async () => {
    const headers = { authorization: `Bearer ${cloud.account.apiKey}`, "content-type": "application/json" };
    const create = vendor === "runpod" ? "/v2/pods" : "/api/v1/instance-operations/launch";
    const wrong = await fetch(prism.url + create, { method: "POST", headers, body: '{"name":5}' });
    expect(wrong.status).toBe(422);
    expect(cloud.counts().create).toBeUndefined();
  });

  test("a life: offers, launch, describe, list, terminate, gone", async () => {
    const [offer] = await lab.provider.offers(NEED);
    const handle = await lab.provider.launch(SPEC, offer as Offer, launchContext(cloud, "att-1", 100));
    expect((await lab.provider.describe(handle)).state).toBe("starting");
    cloud.advance(900_000);
    expect((await lab.provider.describe(handle)).state).toBe("running");
    cloud.preempt(String(handle.machine));
    cloud.advance(10_000);
    expect((await lab.provider.describe(handle)).state).toBe("exited");
    expect((await lab.provider.listOwned(lab.installation)).map((one) => one.handle.key)).toContain("att-1");
    expect(await endAs(lab, handle)).not.toBeNull();
    expect(cloud.alive()).toEqual([]);
  });

  test("a machine in each country and size, and what an administrator looks at", async () => {
    const wide = { ...NEED, gpus: 2, gpu_memory_mb: 70_000 };
    // A second server with the same key knows nothing of the first one's requests.
    cloud.limited = false;
    const narrow = cloudLab(plugin, cloud, { ...config, regions: dialect.regions[0]?.id }, prism.url);
    expect((await narrow.provider.offers(wide)).length).toBeGreaterThan(0);
    const report = await narrow.provider.inspect?.();
    expect(report?.checks[0]?.outcome).toBe("passed");
    cloud.limited = true;
    cloud.advance(120_000);
  });

  const refused: [Fault, ProviderErrorKind | null][] = [
    ["no_capacity", "no_capacity"],
    ["zero_quota", "quota"],
    ["error_before", "transient"],
    ["error_after", null],
    ["lost_answer", null],
  ];
  test.each(refused)("%s keeps to the description and is %p", async (fault, kind) => {
    cloud.advance(120_000);
    cloud.faults.add(fault);
    const key = `att-${fault.replaceAll("_", "-")}`;
    const { handle, failures } = await launchAs(lab, key, { tries: 1 });
    expect(failures.map((one) => one.providerErrorKind)).toEqual(kind ? [kind] : []);
    expect(failures.some(({ message }) => /VIOLATIONS|Prism|Stoplight/i.test(message))).toBe(false);
    if (handle) expect(await endAs(lab, handle as Handle)).not.toBeNull();
    cloud.advance(120_000);
    expect(await sweepAs(lab)).toEqual([]);
    expect(cloud.alive()).toEqual([]);
  });

  test("a revoked key is `auth`", async () => {
    cloud.account.revoked = true;
    cloud.advance(120_000);
    const { failures } = await launchAs(lab, "att-auth");
    expect(failures.map((one) => one.providerErrorKind)).toEqual(["auth"]);
  });
});
