/** What only RunPod has: spot pods of its GraphQL API, bids, deadlines, and errors that differ only in their text. */
import { describe, expect, test } from "bun:test";
import { usedUpFor } from "../../plugins/runpod/api.ts";
import plugin from "../../plugins/runpod/index.ts";
import { isProviderFailure } from "../../src/compute/providers/host.ts";
import type { LaunchSpec, Offer, ProviderErrorKind } from "../../src/contract/provider.ts";
import { FakeCloud, type Request } from "../support/fake-cloud/core.ts";
import { cloudLab, endAs, launchContext, NEED } from "../support/fake-cloud/lab.ts";
import { RUNPOD } from "../support/fake-cloud/runpod.ts";
import { VENDORS } from "../support/fake-cloud/vendors.ts";

const SPEC: LaunchSpec = { kind: "train", need: NEED, image: null, argv: null, env: { MINE: "1" } };
const config = VENDORS.runpod?.config ?? {};
const open = (more: Record<string, unknown> = {}) =>
  cloudLab(plugin, new FakeCloud(RUNPOD), { ...config, spot: true, ...more });

async function spotOffer(lab: ReturnType<typeof open>): Promise<Offer> {
  const offer = (await lab.provider.offers(NEED)).find(({ market, available }) => market === "spot" && available);
  if (!offer) throw new Error("no spot offer");
  return offer;
}

describe("spot pods", () => {
  test("are offered at the lowest bid, and rented with a bid and RunPod's own deadline", async () => {
    const lab = open();
    const offer = await spotOffer(lab);
    expect(offer).toMatchObject({ market: "spot", pricePerHour: 0.34, preemptionNoticeS: 5 });
    const context = launchContext(lab.cloud, "att-1", 0.5);
    await lab.provider.launch(SPEC, offer, context);
    const [pod] = lab.cloud.alive();
    expect(pod).toMatchObject({ spot: true, region: offer.region, endsAt: context.deadline });
    expect(pod?.env).toMatchObject({
      MINE: "1",
      FTL_HOME_URL: "https://lab.example.com",
      FTL_ATTEMPT_TOKEN: "ftb-att-1",
      FTL_KEY: "att-1",
      FTL_DEADLINE: String(Math.ceil(context.deadline / 1000)),
    });
  });

  test("end at RunPod's deadline with server and machine switched off, also when its clock differs", async () => {
    const lab = open();
    lab.cloud.skewMs = 2 * 3_600_000;
    await lab.provider.launch(SPEC, await spotOffer(lab), launchContext(lab.cloud, "att-1"));
    lab.cloud.advance(3_500_000);
    expect(lab.cloud.alive()).toHaveLength(1);
    lab.cloud.advance(200_000);
    expect(lab.cloud.alive()).toEqual([]);
  });

  test("are never bid for above the price of a pod that is not interrupted", async () => {
    const lab = open();
    const bids: number[] = [];
    const { handle } = lab.cloud;
    lab.cloud.handle = (request: Request, authorization) => {
      const input = (request.body as { variables?: { input?: { bidPerGpu?: number } } } | null)?.variables?.input;
      if (input?.bidPerGpu !== undefined) bids.push(input.bidPerGpu);
      return handle.call(lab.cloud, request, authorization);
    };
    const offer = await spotOffer(lab);
    await lab.provider.launch(SPEC, offer, launchContext(lab.cloud, "att-1", 50));
    await lab.provider.launch(SPEC, offer, launchContext(lab.cloud, "att-2", 0.4));
    expect(bids).toEqual([0.69, 0.4]);
  });

  test("taken back with and without notice have exited by preemption, and are then deleted", async () => {
    const lab = open();
    for (const [key, noticeS] of [
      ["att-1", 0],
      ["att-2", 5],
    ] as const) {
      const handle = await lab.provider.launch(SPEC, await spotOffer(lab), launchContext(lab.cloud, key));
      lab.cloud.advance(60_000);
      lab.cloud.preempt(String(handle.machine), noticeS);
      lab.cloud.advance(10_000);
      const status = await lab.provider.describe(handle);
      expect(status).toMatchObject({ state: "exited", preempted: true });
      expect(status.reason).toContain("spot");
      expect(await endAs(lab, handle)).toBe(1);
    }
    expect(lab.cloud.alive()).toEqual([]);
  });

  test("whose price rose above the bid are no capacity", async () => {
    const lab = open();
    const offer = await spotOffer(lab);
    const failure = await lab.provider.launch(SPEC, offer, launchContext(lab.cloud, "att-1", 0.1)).catch((e) => e);
    expect(isProviderFailure(failure) && [failure.providerErrorKind, failure.reason]).toEqual([
      "no_capacity",
      "price_raised",
    ]);
  });

  test("are not offered, and GraphQL is not asked, unless they are switched on", async () => {
    const lab = open({ spot: false });
    expect((await lab.provider.offers(NEED)).some(({ market }) => market === "spot")).toBe(false);
    expect(lab.cloud.calls.map(({ path }) => path)).toEqual(["/v2/catalog/gpus"]);
  });
});

describe("the texts of RunPod's errors", () => {
  test.each<[status: number, detail: string, kind: ProviderErrorKind]>([
    [400, "There are no longer any instances available with the requested specifications.", "no_capacity"],
    [400, "This machine does not have the resources: not enough free GPUs on the host machine", "no_capacity"],
    [400, "Your balance is too low", "quota"],
    [400, "You have reached your spend limit", "quota"],
    [400, "dataCenterIds contains an unknown data center", "invalid"],
    [402, "Payment required", "quota"],
    [403, "Insufficient permission", "auth"],
    [422, "body.gpu.id is required", "invalid"],
    [502, "Bad gateway", "transient"],
  ])("%d %p is %s", async (status, detail, kind) => {
    const lab = open({ spot: false });
    const [offer] = await lab.provider.offers(NEED);
    const { handle } = lab.cloud;
    lab.cloud.handle = (request, authorization) =>
      request.method === "POST"
        ? { status, body: { title: "T", status, detail } }
        : handle.call(lab.cloud, request, authorization);
    const failure = await lab.provider.launch(SPEC, offer as Offer, launchContext(lab.cloud, "att-1")).catch((e) => e);
    expect(isProviderFailure(failure) && failure.providerErrorKind).toBe(kind);
    expect(String(failure)).toContain(detail);
    expect(failure.vendorCode).toBe(`${status} T`);
  });
});

test.each([
  [null, 0],
  ['"minute";r=12;t=20, "hour";r=100;t=3000', 0],
  ['"minute";r=0;t=20, "hour";r=100;t=3000', 20],
  ['"minute";r=0;t=20, "hour";r=0;t=3000', 3000],
  ["nonsense", 0],
])("a RateLimit header of %p means a pause of %d seconds", (header, seconds) => {
  expect(usedUpFor(header)).toBe(seconds);
});

test("a client that is too fast waits for RunPod's window, and gets no 429", async () => {
  const lab = open({ spot: false });
  for (let i = 0; i < 200; i++) {
    await lab.provider.describe({ provider: "runpod", key: `none-${i}`, machine: `none-${i}` }).catch((error) => {
      if (!isProviderFailure(error) || error.providerErrorKind !== "rate_limited") throw error;
      lab.cloud.advance((error.retryAfterS ?? 0) * 1000);
    });
  }
  expect(lab.cloud.calls.filter(({ status }) => status === 429)).toEqual([]);
  expect([...lab.cloud.recent(60_000)].length).toBeLessThanOrEqual(60);
});
