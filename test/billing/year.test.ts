/** Three months of one team with five kills of the server: ledger, statements and Stripe agree to the cent. */
import { expect, test } from "bun:test";
import { planKills } from "../support/billing-year/kills.ts";
import { endpoint, liveThrough, refund, type Story, store, trainings } from "../support/billing-year/story.ts";
import { compareYear } from "../support/billing-year/table.ts";
import { localstripeMissing } from "../support/localstripe.ts";
import { CARDS } from "../support/stripe-fake.ts";

const START = Date.UTC(2027, 0, 1);
const POINTS = ["meter.open", "meter.requests", "statement.booked", "stripe.item", "stripe.refunded"] as const;

/** A card, storage, trainings that are lost and canceled, an endpoint that runs on, and a refund. */
function plan(story: Story): void {
  const { lab, on, at } = story;
  const { alpha } = lab.teams;
  on(at(1, 1) - 3_600_000, () => lab.storeCard(alpha, CARDS.good));
  on(at(1, 2, 3), () => store(story, alpha));
  for (let month = 1; month <= 2; month++) trainings(story, month);
  endpoint(story, alpha, { from: at(3, 28, 9), cost: 0 });
  on(at(3, 10, 9), () =>
    refund(story, alpha, "2027-01", {
      amount_usd: 5,
      reason: "billing_error",
      include_used_gpu_time: true,
      note: "The wrong GPU was shown",
    }),
  );
}

test.skipIf(localstripeMissing !== null)(
  "three months with kills cost what the script says, in the ledger, on statements and at Stripe",
  async () => {
    const kills = planKills(7, START, START, POINTS);
    const story = await liveThrough({
      seed: 7,
      kills,
      start: START,
      months: 3,
      passHours: 24,
      prices: { raise: Number.POSITIVE_INFINITY, own: Number.POSITIVE_INFINITY },
      isActive: ({ name }) => name === "Alpha",
      plan,
    });
    try {
      const { rows, differences } = await compareYear(story);
      expect(differences).toEqual([]);
      expect(kills.left()).toEqual([]);
      expect(kills.done).toHaveLength(POINTS.length);
      expect(rows.map(({ month, state, refunded }) => [month, state, refunded])).toEqual([
        ["2027-01", "paid", 500],
        ["2027-02", "paid", 0],
        ["2027-03", "paid", 0],
      ]);
      expect(rows.every(({ statement }) => statement > 100)).toBe(true);
    } finally {
      await story.lab.close();
    }
  },
  120_000,
);
