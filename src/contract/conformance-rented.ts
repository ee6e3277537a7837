/** Conformance cases for rented machines: offers, one machine a key, secrets, deadline, price, the account. */
import type { ConformanceCase } from "./conformance-case.ts";
import { creates, expect, failureKind, machinesOf, rent, rentedOffer, untilGone } from "./conformance-tools.ts";
import type { Handle } from "./provider.ts";

const again = (handle: Handle): Handle => JSON.parse(JSON.stringify(handle)) as Handle;

/** The ways in which a deadline is written: milliseconds, seconds, ISO 8601. */
const writings = (deadline: number) => [
  String(deadline),
  String(Math.floor(deadline / 1000)),
  String(Math.ceil(deadline / 1000)),
  new Date(deadline).toISOString().slice(0, 16),
];

export const RENTED_CASES: readonly ConformanceCase[] = [
  {
    name: "offers of rented machines have market, region, currency and a price",
    rents: 0,
    async check(make, tools) {
      for (const offer of await make().offers(tools.need)) {
        const about = `offer ${offer.id}`;
        expect(offer.market === "spot" || offer.market === "on_demand", `${about}: market is "${offer.market}"`);
        expect(offer.market !== "spot" || tools.plugin.capabilities.spot, `${about} is spot without the capability`);
        expect(offer.pricePerHour > 0, `${about} costs nothing; leave out machines whose price is unknown`);
        expect(offer.currency === "USD", `${about}: the host accepts USD only, not "${offer.currency}"`);
        expect(offer.machineType && offer.location, `${about} needs machineType and location`);
        expect(offer.region !== "" && offer.zone !== "", `${about}: a region or zone that is not known is null`);
        expect(offer.local !== true, `${about} is not on this machine`);
        expect(
          offer.market === "spot" ? offer.preemptionNoticeS !== null : offer.preemptionNoticeS === null,
          `${about}: preemptionNoticeS is a number for spot machines (0 = none) and null for others`,
        );
        for (const field of ["quoteExpiresAt", "maxLifetimeS", "diskMb"] as const)
          expect(offer[field] === null || Number(offer[field]) > 0, `${about}: ${field} is null or more than 0`);
      }
      return undefined;
    },
  },
  {
    name: "five launches of one key at once rent one machine",
    rents: 1,
    async check(make, tools) {
      const key = tools.key();
      const handles = await Promise.all(Array.from({ length: 5 }, () => rent(make(), tools, { key })));
      const last = await rent(make(), tools, { key });
      for (const handle of handles)
        expect(JSON.stringify(handle) === JSON.stringify(last), "two launches of one key gave different handles");
      expect(last.provider === tools.plugin.id && last.key === key, "the handle must name provider and key");
      const machines = await machinesOf(make(), tools, key);
      expect(machines.length === 1, `listOwned() shows ${machines.length} machines of this key`);
      return undefined;
    },
  },
  {
    name: "a restarted server finds the machine with its labels, and no other installation sees it",
    rents: 1,
    async check(make, tools) {
      const handle = again(await rent(make(), tools, { labels: { job: "j1" } }));
      const [found] = await machinesOf(make(), tools, handle.key);
      expect(found, "listOwned() of a fresh provider does not show it");
      expect(found.labels.job === "j1", "the labels of the launch are lost");
      for (const known of [handle, again(found.handle), { provider: tools.plugin.id, key: handle.key }]) {
        const { state } = await make().describe(known);
        expect(state === "starting" || state === "running", `describe() says "${state}"`);
      }
      const foreign = await make().listOwned("another-installation");
      expect(foreign.length === 0, `listOwned() of another installation shows ${foreign.length}`);
      return undefined;
    },
  },
  {
    name: "provider and key alone are enough to end a machine, and it stays ended",
    rents: 1,
    async check(make, tools) {
      const handle = await rent(make(), tools);
      await untilGone(make(), tools, { provider: tools.plugin.id, key: handle.key }, 0);
      expect((await machinesOf(make(), tools, handle.key)).length === 0, "listOwned() still shows it");
      const { state } = await make().describe(handle);
      expect(state === "absent" || state === "exited", `describe() says "${state}"`);
      expect((await make().terminate(handle)).gone, "a second terminate() does not say gone");
      return undefined;
    },
  },
  {
    name: "a machine that costs more than the limit is refused as no_capacity, reason price_raised",
    rents: 0,
    async check(make, tools) {
      const offer = await rentedOffer(make(), tools);
      const key = tools.key();
      try {
        await rent(make(), tools, { key, maxPricePerHour: offer.pricePerHour / 2 });
      } catch (error) {
        expect(failureKind(error) === "no_capacity", `the error kind is "${failureKind(error)}"`);
        const { reason } = error as { reason?: unknown };
        expect(reason === "price_raised", `the reason is "${reason}"`);
        expect((await machinesOf(make(), tools, key)).length === 0, "a machine was rented all the same");
        return undefined;
      }
      throw new Error("it was rented at twice the limit");
    },
  },
  {
    name: "no secret of the configuration is in a request body, and the machine gets the token of its launch",
    rents: 1,
    async check(make, tools) {
      tools.wire.clear();
      const handle = await rent(make(), tools);
      const created = tools.wire.calls.filter(creates(handle.key));
      expect(created.length > 0, "no request carries callHome.token: the trainer cannot connect");
      for (const secret of [...tools.secrets, tools.canary.value]) {
        const leak = tools.wire.calls.find((call) => call.readable.includes(secret));
        expect(!leak, `a secret is in address or body of ${leak?.signature}; send it in a header`);
      }
      return undefined;
    },
  },
  {
    name: "the machine or the vendor knows the deadline",
    rents: 1,
    async check(make, tools) {
      const deadline = Date.now() + 1_234_567;
      tools.wire.clear();
      const handle = await rent(make(), tools, { deadline });
      const created = tools.wire.calls.filter(creates(handle.key));
      expect(
        created.some(({ readable }) => writings(deadline).some((text) => readable.includes(text))),
        "the request that creates the machine has no deadline: the machine must end itself, or the vendor end it",
      );
      return undefined;
    },
  },
  {
    name: "inspect() reports the account and rents nothing",
    rents: 0,
    async check(make, tools) {
      const provider = make();
      expect(provider.inspect, "inspect() is missing");
      const before = (await provider.listOwned(tools.installation)).length;
      const report = await provider.inspect();
      expect(report.checks.length > 0, "there are no checks: say at least that the key is accepted");
      for (const { name, outcome, message } of report.checks) {
        expect(name && message, "a check needs a name and a message");
        expect(["passed", "failed", "unknown"].includes(outcome), `outcome "${outcome}"`);
        expect(outcome !== "failed", `${name}: ${message}`);
      }
      for (const { limit } of report.quotas) expect(limit === null || limit >= 0, "an unknown quota is null");
      expect((await provider.listOwned(tools.installation)).length === before, "inspect() left something");
      return undefined;
    },
  },
];
