/** The AWS plugin with AWS's own client against moto: offers, launches, faults, ends, account, and the contract. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import aws from "../../plugins/aws/index.ts";
import { conformanceSetup } from "../../src/compute/providers/conformance-run.ts";
import { casesFor, runCase } from "../../src/contract/conformance.ts";
import type { Provider, ProviderFailure } from "../../src/contract/provider.ts";
import { AMI, type AwsLab, awsLab, awsSettings, IMAGE, NEED, SECRET, SPEC } from "../support/aws-lab.ts";
import { awsWorld } from "../support/aws-world.ts";
import { motoMissing, startMoto } from "../support/moto.ts";

const DEFAULT_AMI = String(aws.config.find(({ name }) => name === "ami")?.default);
let moto: Awaited<ReturnType<typeof startMoto>>;
let lab: AwsLab;
let number = 0;
let dataDir: string;

beforeAll(async () => {
  if (!motoMissing) moto = await startMoto();
  dataDir = mkdtempSync(join(tmpdir(), "ftl-aws-"));
}, 110_000);
afterAll(async () => {
  await moto?.stop();
  rmSync(dataDir, { recursive: true, force: true });
});
beforeEach(() => {
  // Another installation each time: what earlier tests left belongs to others.
  if (!motoMissing) lab = awsLab(moto.url, `lab-${++number}`);
});

const failure = (work: Promise<unknown>): Promise<ProviderFailure> =>
  work.then(
    () => Promise.reject(new Error("it did not fail")),
    (error) => error as ProviderFailure,
  );

/** What the last launch asked for. */
const asked = () => lab.world.calls.findLast(({ action }) => action === "RunInstances")?.form ?? new URLSearchParams();
const script = () => Buffer.from(asked().get("UserData") ?? "", "base64").toString();

/** Asks moto directly. */
async function ec2(fields: Record<string, string>, region = "us-east-1"): Promise<string> {
  const authorization = `AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/${region}/ec2/aws4_request, SignedHeaders=host, Signature=x`;
  const body = new URLSearchParams({ Version: "2016-11-15", ...fields });
  return (await fetch(moto.url, { method: "POST", headers: { authorization }, body })).text();
}

const machinesOf = async (provider: Provider, key: string) =>
  (await provider.listOwned(`lab-${number}`)).filter(({ resource, handle }) => !resource && handle.key === key);

async function untilGone(provider: Provider, handle: Parameters<Provider["terminate"]>[0]): Promise<void> {
  for (let i = 0; i < 5; i++) if ((await provider.terminate(handle)).gone) return;
  throw new Error("it is still there");
}

describe("settings", () => {
  test("problems name the field and the remedy, and nothing is asked", async () => {
    const provider = aws.create({} as never, {
      ...awsSettings("nowhere"),
      access_key_id: "ASIAIOSFODNN7EXAMPLE",
      regions: "us-east-1, moon",
      image: "registry.example/trainer:latest",
      disk_gb: 3,
      subnet_ids: "subnet-x",
    });
    const answer = await provider.validate();
    if (answer.ok) throw new Error("accepted");
    const fields = answer.problems.map(({ field }) => field);
    expect(fields).toEqual(["session_token", "regions", "image", "disk_gb", "subnet_ids", "endpoint"]);
    for (const { message, remedy } of answer.problems)
      expect([message.length > 10, remedy.length > 10]).toEqual([true, true]);
  });
});

describe.skipIf(motoMissing !== null)("AWS", () => {
  test("offers name market, zone and the price of machine, disk and address, the cheapest first", async () => {
    lab.world.spotPrices.set("g5.xlarge", "0.402");
    const offers = await lab.make().offers(NEED);
    const extras = 200 * (0.08 / 730) + 0.005;
    const g5 = offers.filter((one) => one.zone === "us-east-1a" && one.machineType === "g5.xlarge");
    expect(g5.map(({ market, pricePerHour }) => [market, pricePerHour])).toEqual([
      ["spot", Number((0.402 + extras).toFixed(6))],
      ["on_demand", Number((1.006 + extras).toFixed(6))],
    ]);
    expect(g5[0]).toMatchObject({
      region: "us-east-1",
      location: "us-east-1a",
      currency: "USD",
      gpus: 1,
      gpuName: "NVIDIA A10G",
      gpuMemoryMb: 22_888,
      preemptionNoticeS: 120,
      local: false,
    });
    expect(g5[1]?.preemptionNoticeS).toBeNull();
    const prices = offers.map(({ pricePerHour }) => pricePerHour);
    expect(prices).toEqual([...prices].sort((a, b) => a - b));
    expect(new Set(offers.map(({ id }) => id)).size).toBe(offers.length);
    const onlyOnDemand = await lab.make({ spot: false }).offers({ ...NEED, max_price_per_hour: 1 });
    expect(new Set(onlyOnDemand.map(({ market, machineType }) => `${market} ${machineType}`))).toEqual(
      new Set(["on_demand g4dn.xlarge", "on_demand g6.xlarge"]),
    );
    expect(await lab.make().offers({ ...NEED, gpus: 16 })).toEqual([]);
  });

  test("a key that may not read prices gets the shipped ones, only where they hold", async () => {
    lab.world.listed = null;
    const offers = await lab.make({ regions: "us-east-1, eu-central-1", spot: false }).offers(NEED);
    expect(new Set(offers.map(({ region }) => region))).toEqual(new Set(["us-east-1"]));
    expect(offers.find(({ machineType }) => machineType === "g5.xlarge")?.pricePerHour).toBeCloseTo(1.006 + 0.0269, 3);
  });

  test("a region that fails leaves the offers of the others; when all fail, the reason is said", async () => {
    lab.world.fail({ action: "DescribeInstanceTypes", region: "us-east-1", code: "AuthFailure", status: 401 });
    const offers = await lab.make({ regions: "us-east-1, us-west-2", spot: false }).offers(NEED);
    expect(new Set(offers.map(({ region }) => region))).toEqual(new Set(["us-west-2"]));
    lab.world.fail({ action: "DescribeInstanceTypes", code: "AuthFailure", status: 401 });
    expect((await failure(lab.make().offers(NEED))).providerErrorKind).toBe("auth");
  });

  test("a launch asks for a machine that ends itself, hides its metadata and is tagged with all it has", async () => {
    const handle = await lab.launch("one", { offer: await lab.offer("spot"), context: { maxPricePerHour: 0.5 } });
    const form = asked();
    expect(Object.fromEntries(form)).toMatchObject({
      MinCount: "1",
      MaxCount: "1",
      InstanceInitiatedShutdownBehavior: "terminate",
      "MetadataOptions.HttpTokens": "required",
      "MetadataOptions.HttpPutResponseHopLimit": "1",
      "BlockDeviceMapping.1.Ebs.DeleteOnTermination": "true",
      "BlockDeviceMapping.1.Ebs.VolumeSize": "200",
      "InstanceMarketOptions.MarketType": "spot",
      "InstanceMarketOptions.SpotOptions.SpotInstanceType": "one-time",
      "InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior": "terminate",
    });
    expect(Number(form.get("InstanceMarketOptions.SpotOptions.MaxPrice"))).toBeCloseTo(0.5 - 0.0269, 3);
    const tagged = [1, 2, 3, 4].map((i) => form.get(`TagSpecification.${i}.ResourceType`));
    expect(tagged).toEqual(["instance", "volume", "network-interface", "spot-instances-request"]);
    const seen = await ec2({ Action: "DescribeInstances", "InstanceId.1": String(handle.instance) });
    for (const word of [`ftl-lab-${number}-one`, "ftl:expires-at", "ftl:label:job", "job_1", "<instanceLifecycle>spot"])
      expect(seen).toContain(word);
    const [group] = (await lab.make().listOwned(`lab-${number}`)).filter(({ shared }) => shared);
    expect(form.get("SecurityGroupId.1")).toBe(String(group?.handle.id));
    expect(await ec2({ Action: "DescribeSecurityGroups", "GroupId.1": String(group?.handle.id) })).toContain(
      "<ipPermissions/>",
    );
  });

  test("the start script is small, names the image by digest, and has no secret but the token of this launch", async () => {
    await lab.launch("one", { offer: await lab.offer() });
    expect(script().length).toBeLessThan(16_384);
    expect(script()).toContain(IMAGE);
    expect(script()).toContain("FTL_ATTEMPT_TOKEN=ftb-one\n");
    const sent = lab.world.calls.filter(({ action }) => action === "RunInstances").map(({ body }) => body + script());
    expect(sent.join()).not.toContain(SECRET);
    const long = { ...SPEC, env: { LONG: "x".repeat(17_000) } };
    const context = { key: "two", labels: {}, deadline: Date.now() + 1e6, maxPricePerHour: null };
    const callHome = { url: "https://lab.example", token: "t", fingerprint: null };
    const refused = failure(lab.make().launch(long, await lab.offer(), { ...context, callHome }));
    expect((await refused).providerErrorKind).toBe("invalid");
  });

  test("the configured subnet of the zone is used, and a zone without one is no capacity", async () => {
    const found = await ec2({ Action: "DescribeSubnets" });
    const [, subnet = "", zone = ""] =
      /<subnetId>(subnet-[0-9a-f]+)<[\s\S]*?<availabilityZone>([^<]+)</.exec(found) ?? [];
    const provider = lab.make({ subnet_ids: subnet, spot: false });
    const offers = await provider.offers(NEED);
    const inside = offers.find((one) => one.zone === zone);
    const outside = offers.find((one) => one.zone !== zone);
    if (!inside || !outside) throw new Error("no two zones");
    await lab.launch("one", { provider, offer: inside });
    expect(asked().get("SubnetId")).toBe(subnet);
    expect((await failure(lab.launch("two", { provider, offer: outside }))).providerErrorKind).toBe("no_capacity");
  });

  for (const [what, fault] of [
    ["the answer is lost", { after: true }],
    ["AWS fails after it created the machine", { after: true, code: "InternalError", status: 500 }],
  ] as const)
    test(`one machine when ${what}, and the repeated launch has the same handle`, async () => {
      const offer = await lab.offer();
      lab.world.fail({ action: "RunInstances", ...fault });
      const handle = await lab.launch("one", { offer });
      expect(lab.world.count("RunInstances")).toBe(1);
      expect(await lab.launch("one", { offer })).toEqual(handle);
      expect(await machinesOf(lab.make(), "one")).toHaveLength(1);
    });

  test("one machine when the answer is lost and EC2 does not show the machine yet", async () => {
    const offer = await lab.offer();
    lab.world.hide(2);
    lab.world.fail({ action: "RunInstances", after: true });
    const handle = await lab.launch("one", { offer });
    expect(lab.world.count("RunInstances")).toBe(2);
    expect((await machinesOf(lab.make(), "one")).map((one) => one.handle)).toEqual([handle]);
    // The token of a repeated launch is new, so EC2 refuses the request; by then the machine is visible, or not.
    const callHome = { url: "https://lab.example", token: "ftb-new", fingerprint: null };
    lab.world.hide(1);
    expect(await lab.launch("one", { offer, context: { callHome } })).toEqual(handle);
    lab.world.hide(2);
    const late = await failure(lab.launch("one", { offer, context: { callHome } }));
    expect([late.providerErrorKind, late.retryAfterS]).toEqual(["transient", 10]);
  });

  test("five launches of one key at once are one machine", async () => {
    const offer = await lab.offer();
    const handles = await Promise.all(Array.from({ length: 5 }, () => lab.launch("one", { offer })));
    expect(new Set(handles.map((one) => JSON.stringify(one))).size).toBe(1);
    expect(await machinesOf(lab.make(), "one")).toHaveLength(1);
  });

  test("of two machines with one key the smaller id stays", async () => {
    const first = await lab.launch("one");
    const again = asked();
    // Of another server with the same data: no token in common.
    const made = await ec2({ ...Object.fromEntries(again), ClientToken: "other" });
    const [, second = ""] = /<instanceId>(i-[0-9a-f]+)</.exec(made) ?? [];
    const [kept] = [String(first.instance), second].sort();
    expect((await lab.make().describe({ provider: "aws", key: "one" })).machine).toBe(kept);
    expect((await machinesOf(lab.make(), "one")).map(({ handle }) => handle.instance)).toEqual([kept]);
  });

  test.each([
    ["InsufficientInstanceCapacity", 500, "no_capacity"],
    ["Unsupported", 400, "no_capacity"],
    ["SpotMaxPriceTooLow", 400, "no_capacity"],
    ["VcpuLimitExceeded", 400, "quota"],
    ["MaxSpotInstanceCountExceeded", 400, "quota"],
    ["RequestLimitExceeded", 503, "rate_limited"],
    ["UnauthorizedOperation", 403, "auth"],
    ["AuthFailure", 401, "auth"],
    ["OptInRequired", 403, "auth"],
    ["InvalidParameterValue", 400, "invalid"],
  ])("%s (%i) is %s, said once and with AWS's code", async (code, status, kind) => {
    const offer = await lab.offer();
    const before = lab.world.count("RunInstances");
    lab.world.fail({ action: "RunInstances", code, status, times: 9, headers: { "retry-after": "17" } });
    const error = await failure(lab.launch("one", { offer }));
    expect([error.providerErrorKind, error.vendorCode]).toEqual([kind as ProviderFailure["providerErrorKind"], code]);
    expect(error.message).toContain(code);
    expect(lab.world.count("RunInstances") - before).toBe(1);
    expect(error.retryAfterS).toBe(kind === "rate_limited" ? 17 : null);
  });

  test("an outage is transient after one repeat, and nothing is left", async () => {
    const offer = await lab.offer();
    lab.world.fail({ action: "RunInstances", times: 9 });
    const error = await failure(lab.launch("one", { offer }));
    expect([error.providerErrorKind, error.vendorCode]).toEqual(["transient", null]);
    expect(lab.world.count("RunInstances")).toBe(2);
  });

  test("a machine that costs more than the limit by now is not started", async () => {
    lab.world.spotPrices.set("g5.xlarge", "0.3");
    const offer = await lab.offer("spot");
    lab.world.spotPrices.set("g5.xlarge", "0.6");
    const error = await failure(lab.launch("one", { offer, context: { maxPricePerHour: 0.5 } }));
    expect([error.providerErrorKind, error.reason]).toEqual(["no_capacity", "price_raised"]);
    expect(lab.world.count("RunInstances")).toBe(0);
  });

  test("a machine that AWS took back is preempted; one that was terminated is absent", async () => {
    const handle = await lab.launch("one");
    const id = String(handle.instance);
    expect(await lab.make().describe(handle)).toMatchObject({ state: "running", machine: id });
    await ec2({ Action: "TerminateInstances", "InstanceId.1": id });
    const ended = await lab.make().describe(handle);
    expect([ended.state, typeof ended.endedAt]).toEqual(["absent", "number"]);
    for (const [code, preempted, words] of [
      ["Server.SpotInstanceTermination", true, "took the spot machine back"],
      ["Server.InsufficientInstanceCapacity", true, "no free machine"],
      ["Client.InstanceInitiatedShutdown", false, "ended itself"],
    ] as const) {
      lab.world.taken.set(id, code);
      const status = await lab.make().describe(handle);
      expect(status).toMatchObject({ state: "exited", exitCode: null, preempted });
      expect(status.reason).toContain(words);
      expect(status.reason).toContain(code);
    }
  });

  test("a machine that EC2 does not show yet is starting, and its end is not believed", async () => {
    const handle = await lab.launch("one");
    lab.world.hide(99);
    expect((await lab.make().describe(handle)).state).toBe("starting");
    expect(await lab.make().terminate(handle)).toEqual({ gone: false, againAfterS: 5 });
    lab.ahead = 121_000;
    expect((await lab.make().describe(handle)).state).toBe("absent");
    expect(await lab.make().terminate(handle)).toEqual({ gone: true });
    lab.world.hide(0);
    await untilGone(lab.make(), handle);
  });

  test("the key alone ends a machine in whichever region it is", async () => {
    const config = { regions: "us-east-1, us-west-2" };
    const offers = await lab.make(config).offers(NEED);
    const west = offers.find(({ region }) => region === "us-west-2");
    lab.world.parameters.set(DEFAULT_AMI, "ami-03cf127a");
    const handle = await lab.launch("one", { provider: lab.make(config), offer: west });
    expect(handle.region).toBe("us-west-2");
    await untilGone(lab.make(config), { provider: "aws", key: "one" });
    expect((await lab.make(config).describe(handle)).state).toBe("absent");
    expect(await lab.make(config).terminate({ provider: "aws", key: "never" })).toEqual({ gone: true });
  });

  test("the sweep sees everything with the tag, on every page, and can remove it", async () => {
    for (const key of ["one", "two", "three"]) await lab.launch(key);
    const tags = (type: string) => ({
      "TagSpecification.1.ResourceType": type,
      "TagSpecification.1.Tag.1.Key": "ftl:installation",
      "TagSpecification.1.Tag.1.Value": `lab-${number}`,
      "TagSpecification.1.Tag.2.Key": "ftl:key",
      "TagSpecification.1.Tag.2.Value": "lost",
    });
    await ec2({ Action: "CreateVolume", AvailabilityZone: "us-east-1a", Size: "8", ...tags("volume") });
    await ec2({ Action: "AllocateAddress", Domain: "vpc", ...tags("elastic-ip") });
    const [, subnet = ""] = /<subnetId>(subnet-[0-9a-f]+)</.exec(await ec2({ Action: "DescribeSubnets" })) ?? [];
    await ec2({ Action: "CreateNetworkInterface", SubnetId: subnet, ...tags("network-interface") });
    const provider = lab.make();
    lab.world.pageSize = 2;
    lab.world.fail({ action: "DescribeInstances", later: true, code: "InternalError", status: 500 });
    expect((await failure(provider.listOwned(`lab-${number}`))).providerErrorKind).toBe("transient");
    const all = await provider.listOwned(`lab-${number}`);
    const kinds = all.map(({ resource, shared }) => `${resource ?? "machine"}${shared ? " shared" : ""}`).sort();
    expect(kinds).toEqual(["address", "machine", "machine", "machine", "network", "network shared", "volume"]);
    expect(all.find(({ handle }) => handle.key === "two")?.labels).toEqual({ job: "job_1" });
    for (const { handle, shared } of all) if (!shared) await untilGone(provider, handle);
    const left = await provider.listOwned(`lab-${number}`);
    expect(left.map(({ resource, shared }) => [resource, shared])).toEqual([["network", true]]);
    for (const { handle } of left) await untilGone(provider, handle);
    expect(await provider.listOwned(`lab-${number}`)).toEqual([]);
    expect(await provider.listOwned("lab-of-others")).toEqual([]);
  });

  test.each(["DescribeInstances", "DescribeVolumes", "DescribeSpotInstanceRequests", "DescribeAddresses"])(
    "the list fails when %s fails in one region",
    async (action) => {
      lab.world.fail({ action, region: "us-west-2", code: "InternalError", status: 500 });
      const error = await failure(lab.make({ regions: "us-east-1, us-west-2" }).listOwned(`lab-${number}`));
      expect(error.providerErrorKind).toBe("transient");
    },
  );

  test("the account: whose key, each permission, regions, image and quotas, and nothing is started", async () => {
    lab.world.quotas.set("L-DB2E81BA", 0);
    lab.world.quotas.set("L-3819A6DF", 64);
    lab.world.disabled.add("us-west-2");
    lab.world.fail({ action: "TerminateInstances", code: "UnauthorizedOperation", status: 403 });
    lab.world.fail({ action: "DescribeVolumes" });
    const report = await lab.make({ regions: "us-east-1, us-west-2" }).inspect?.();
    const outcome = (name: string) => report?.checks.find((one) => one.name === name)?.outcome;
    expect(report?.checks.find(({ name }) => name === "Access key")?.message).toContain("123456789012");
    expect(["ec2:RunInstances", "ec2:TerminateInstances", "ec2:DescribeVolumes"].map(outcome)).toEqual([
      "passed",
      "failed",
      "unknown",
    ]);
    expect(report?.checks.filter(({ name }) => name.startsWith("ec2:")).length).toBe(19);
    expect(["Region us-east-1", "Region us-west-2"].map(outcome)).toEqual(["passed", "failed"]);
    expect(outcome("Machine image in us-east-1")).toBe("passed");
    expect(report?.regions).toEqual(["us-east-1"]);
    const here = report?.quotas.filter(({ region }) => region === "us-east-1").map(({ limit }) => limit);
    expect(here).toEqual([0, null, 64, null, null]);
    expect(outcome("Quota in us-east-1")).toBe("failed");
    expect(await lab.make().listOwned(`lab-${number}`)).toEqual([]);
    lab.world.fail({ action: "GetCallerIdentity", code: "InvalidClientTokenId", status: 403 });
    const before = lab.world.calls.length;
    const wrong = await lab.make().inspect?.();
    expect(wrong?.checks.map(({ name, outcome: found }) => [name, found])).toEqual([["Access key", "failed"]]);
    expect(lab.world.calls.length - before).toBe(1);
  });
});

describe.skipIf(motoMissing !== null)("AWS conforms:", () => {
  const world = awsWorld();
  let setup: ReturnType<typeof conformanceSetup> | null = null;
  for (const one of casesFor(aws))
    test(one.name, async () => {
      const settings = awsSettings(moto.url);
      world.parameters.set(String(settings.ami), AMI);
      setup ??= conformanceSetup(aws, settings, dataDir, { send: world.fetch });
      const result = await runCase(one, setup.make, setup.tools);
      expect(result.detail || result.outcome, one.name).toBe("passed");
    });
});
