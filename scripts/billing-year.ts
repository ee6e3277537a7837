/**
 * `bun run billing-year [--seed N]`: a year of three teams with a fast clock, in which the server is killed 50 times.
 * Prints use, ledger, statements and Stripe by team and month. Exit code 1 when they differ by a cent.
 */
import { parseArgs } from "node:util";
import { planKills } from "../test/support/billing-year/kills.ts";
import { liveThrough, planYear } from "../test/support/billing-year/story.ts";
import { compareYear, tableOf } from "../test/support/billing-year/table.ts";
import { localstripeMissing } from "../test/support/localstripe.ts";
import { giveUp, say } from "./setup.ts";

const HELP = `bun run billing-year [--seed N]

Simulates a year: three teams (a card, a card that is declined, invoices with payment terms), trainings that end, fail,
are canceled or lost, endpoints that run for months, storage, requests, a raise and a price of a team's own, a budget
that stops a job, credits, refunds, failed and late payments, a suspension and the return. The passes of the server run in a process with a fast
clock, which is killed fifty times at fail points. Stripe is a test account on this machine.
  --seed N  what happens, and where the server is killed (default 1)
Exit code 1 when the use, the ledger, the statements and Stripe differ by a cent, or a kill did not happen.`;

const YEAR = 2027;
const START = Date.UTC(YEAR, 0, 1);
const END = Date.UTC(YEAR + 1, 0, 4);
/** Kills begin within the first part of the year, so that each of them finds something to strike. */
const KILLS_TO = START + (END - START) * 0.8;

/** While an invoice is overdue a team starts nothing: from the due date to the payment. */
const PAUSES: Record<string, [from: number, to: number][]> = {
  Beta: [
    [Date.UTC(YEAR, 1, 17), Date.UTC(YEAR, 2, 21)],
    [Date.UTC(YEAR, 8, 17), Date.UTC(YEAR, 9, 21)],
  ],
  Gamma: [[Date.UTC(YEAR, 10, 17), Date.UTC(YEAR, 10, 26)]],
};

async function main(args: string[]): Promise<number> {
  const { values } = parseArgs({ args, options: { seed: { type: "string" }, help: { type: "boolean" } } });
  if (values.help) {
    process.stdout.write(`${HELP}\n`);
    return 0;
  }
  if (localstripeMissing) giveUp(`This needs localstripe: ${localstripeMissing}. Run bun run test --prepare.`);
  const seed = Number(values.seed ?? 1);
  if (!Number.isSafeInteger(seed) || seed < 0) giveUp(`--seed must be a whole number, not ${values.seed}.`);
  const kills = planKills(seed, START, KILLS_TO);
  say(`A year with seed ${seed}`);
  const story = await liveThrough({
    seed,
    kills,
    start: START,
    months: 12,
    passHours: 6,
    prices: { raise: Date.UTC(YEAR, 6, 1), own: Date.UTC(YEAR, 2, 1) },
    isActive: ({ name }, at) => !(PAUSES[name] ?? []).some(([from, to]) => at >= from && at < to),
    plan: planYear,
    say,
  });
  try {
    const { rows, differences } = await compareYear(story);
    process.stdout.write(`${tableOf(rows)}\n`);
    const places = Map.groupBy(kills.done, ({ point }) => point);
    const struck = [...places].map(([point, all]) => `${point} ${all.length}`).sort();
    process.stdout.write(`${kills.done.length} of ${kills.total} kills: ${struck.join(", ")}\n`);
    if (kills.left().length > 0) differences.push(`kills that did not happen: ${kills.left().join(", ")}`);
    for (const one of differences) say(`DIFFERENT: ${one}`);
    say(`${rows.length} statements, ${differences.length} differences`);
    return differences.length === 0 ? 0 : 1;
  } finally {
    await story.lab.close();
  }
}

if (import.meta.main) process.exit(await main(process.argv.slice(2)));
