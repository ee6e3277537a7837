/** What only Lambda has: one SSH key per installation, slow launches, user data, firewalls, and errors by code. */
import { describe, expect, test } from "bun:test";
import { kindOf } from "../../plugins/lambda/api.ts";
import plugin from "../../plugins/lambda/index.ts";
import { readGpu } from "../../plugins/lambda/offers.ts";
import { isProviderFailure } from "../../src/compute/providers/host.ts";
import type { LaunchSpec, Offer } from "../../src/contract/provider.ts";
import { FakeCloud } from "../support/fake-cloud/core.ts";
import { cloudLab, launchAs, launchContext, NEED } from "../support/fake-cloud/lab.ts";
import { LAMBDA } from "../support/fake-cloud/lambda.ts";
import { VENDORS } from "../support/fake-cloud/vendors.ts";

const SPEC: LaunchSpec = { kind: "train", need: NEED, image: null, argv: null, env: {} };
const open = (more: Record<string, unknown> = {}) =>
  cloudLab(plugin, new FakeCloud(LAMBDA), { ...VENDORS.lambda?.config, ...more });

const failureOf = async (work: Promise<unknown>) => {
  const error = await work.catch((problem: unknown) => problem);
  if (!isProviderFailure(error)) throw new Error(`not a failure: ${String(error)}`);
  return error;
};

describe("the SSH key", () => {
  test("is created once for all launches, listed as shared, and can be removed by its handle", async () => {
    const lab = open();
    for (const key of ["att-1", "att-2", "att-3"]) await launchAs(lab, key);
    expect([...lab.cloud.keys.values()].map(({ name }) => name)).toEqual([`ftl-${lab.installation}`]);
    expect([...lab.cloud.keys.values()][0]?.public_key).toMatch(/^ssh-ed25519 AAAAC3NzaC1lZDI1NTE5[\w+/=]{48} ftl-/);
    const owned = (await lab.provider.listOwned(lab.installation)).filter(({ resource }) => resource === "key");
    expect(owned).toMatchObject([{ shared: true, state: "running" }]);
    expect(await lab.provider.listOwned("another")).toEqual([]);
    expect(await lab.provider.terminate(owned[0]?.handle ?? { provider: "", key: "" })).toEqual({ gone: true });
    expect(lab.cloud.keys.size).toBe(0);
    expect(lab.cloud.alive()).toHaveLength(3);
  });

  test("of the settings is used, and its absence is named", async () => {
    const lab = open({ ssh_key: "ours" });
    const { failures } = await launchAs(lab, "att-1");
    expect(failures.map(({ providerErrorKind }) => providerErrorKind)).toEqual(["invalid"]);
    expect(failures[0]?.message).toContain("no SSH key with the name ours");
    lab.cloud.keys.set("k1", { id: "k1", name: "ours", public_key: "ssh-ed25519 AAAA" });
    await launchAs(lab, "att-2");
    expect(lab.cloud.alive().map(({ sshKeys }) => sshKeys)).toEqual([["ours"]]);
  });
});

test("launches are twelve seconds apart, and other requests one second", async () => {
  const lab = open();
  for (let i = 0; i < 5; i++) expect((await launchAs(lab, `att-${i}`)).handle).not.toBeNull();
  const at = (operation: string) =>
    lab.cloud.calls.filter((call) => call.operation === operation).map((call) => call.at);
  const launches = at("create");
  for (const [i, time] of launches.slice(1).entries()) expect(time - (launches[i] ?? 0)).toBeGreaterThanOrEqual(12_000);
  expect(lab.cloud.calls.filter(({ status }) => status === 429)).toEqual([]);
});

test("user data has the image by digest, the deadline and nothing secret but the bootstrap token", async () => {
  const lab = open();
  const [offer] = await lab.provider.offers(NEED);
  await lab.provider.launch(SPEC, offer as Offer, launchContext(lab.cloud, "att-1"));
  const [machine] = lab.cloud.alive();
  const script = machine?.userData ?? "";
  expect(script.startsWith("#!/bin/sh\n")).toBe(true);
  expect(script).toContain(`docker pull ${VENDORS.lambda?.config.image}`);
  expect(script).toContain("FTL_ATTEMPT_TOKEN=ftb-att-1\n");
  expect(script).not.toContain(lab.cloud.account.apiKey);
  const seconds = Number(/--on-active=(\d+)/.exec(script)?.[1]);
  expect(seconds).toBeGreaterThan(3500);
  expect(seconds).toBeLessThanOrEqual(3600);
  expect(Bun.spawnSync(["sh", "-n"], { stdin: Buffer.from(script) }).exitCode).toBe(0);
  const context = launchContext(lab.cloud, "att-2");
  const split = { ...SPEC, env: { MINE: "a\nFTL_KEY=other" } };
  expect((await failureOf(lab.provider.launch(split, offer as Offer, context))).providerErrorKind).toBe("invalid");
});

test("long keys get short names that differ, and are found by their tags", async () => {
  const lab = open();
  const keys = ["a", "b"].map((end) => "k".repeat(63) + end);
  for (const key of keys) await launchAs(lab, key);
  const names = lab.cloud.alive().map(({ name }) => name);
  expect(new Set(names).size).toBe(2);
  expect(names.every((name) => name.length <= 64)).toBe(true);
  const owned = (await lab.provider.listOwned(lab.installation)).filter(({ shared }) => !shared);
  expect(owned.map(({ handle }) => handle.key).sort()).toEqual(keys);
});

test("a firewall ruleset that a region lacks is named before anything is rented", async () => {
  const lab = open({ firewall: "no-ssh" });
  const { failures } = await launchAs(lab, "att-1");
  expect(failures.map(({ providerErrorKind, vendorCode }) => [providerErrorKind, vendorCode])).toEqual([
    ["invalid", "firewall"],
  ]);
  expect(lab.cloud.counts().create).toBeUndefined();
});

test("machines whose processor is not x86 are not offered", async () => {
  const offers = await open().provider.offers({ ...NEED, gpu_memory_mb: 90_000 });
  expect(offers).toEqual([]);
});

test.each([
  ["H100 (80 GB SXM5)", { name: "H100", memoryMb: 81_920 }],
  ["RTX 6000 (24 GB)", { name: "RTX 6000", memoryMb: 24_576 }],
  ["N/A", null],
  ["", null],
])("the GPU text %p is %p", (text, gpu) => {
  expect(readGpu(text)).toEqual(gpu);
});

test.each([
  ["instance-operations/launch/insufficient-capacity", 400, "no_capacity"],
  ["global/quota-exceeded", 400, "quota"],
  ["global/invalid-address", 403, "quota"],
  ["global/account-inactive", 403, "auth"],
  ["provider/internal-unavailable", 500, "transient"],
  ["provider/quota-limit", 400, "quota"],
  ["provider/insufficient-capacity", 400, "no_capacity"],
  ["something/new", 503, "transient"],
  ["something/new", 400, "invalid"],
  ["something/new", 401, "auth"],
] as const)("the code %s with status %d is %s", (code, status, kind) => {
  expect(kindOf(code, status)).toBe(kind);
});
