/** What happens in the simulated year, and when. Times in milliseconds since 1970, UTC. */

import { CARDS } from "../stripe-fake.ts";
import { type Book, createBook } from "./book.ts";
import type { Kills } from "./kills.ts";
import { randomOf } from "./kills.ts";
import { startYear, type Team, type YearLab } from "./lab.ts";
import {
  announceRaise,
  CENT_OF_BYTES,
  costsOfEndpoint,
  costsOfTraining,
  type PriceDates,
  setFirstPrices,
  setOwnPrice,
} from "./prices.ts";
import type { YearJob } from "./steps.ts";
import { workOf, type YearWork } from "./work.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const MINUTE = 60_000;

interface Planned {
  at: number;
  act(): unknown;
}

/** What scripts of the year share. */
export interface Story {
  lab: YearLab;
  book: Book;
  work: YearWork;
  pick: (below: number) => number;
  prices: PriceDates;
  at(month: number, day: number, hour?: number): number;
  /** Something that happens once. */
  on(at: number, act: () => unknown): void;
  /** Whether a team works at a time; one that is suspended does not. */
  isActive(team: Team, at: number): boolean;
  bytes: Map<string, number>;
  stopped: string[];
  /** How often each team is suspended for an unpaid invoice, and returns. */
  suspensions: Map<string, number>;
}

/** A training: it loads for ten minutes, saves every five hours, and is taken back once when `lostAfter` is given. */
function training(
  story: Story,
  job: YearJob,
  { from, hours, lostAfter, ends }: { from: number; hours: number; lostAfter?: number; ends: string },
): void {
  const { on, work, prices, lab } = story;
  const isOwn = job.org === lab.teams.gamma.org;
  const costs = costsOfTraining(prices, isOwn, from);
  const run = (start: number, until: number) => {
    on(start, () => work.launch(job, costs));
    on(start + 10 * MINUTE, () => work.begin(job.id));
    for (let at = start + 5 * HOUR; at < until; at += 5 * HOUR) on(at, () => work.save(job.id));
  };
  const lostAt = lostAfter === undefined ? from : from + lostAfter * HOUR;
  if (lostAfter !== undefined) {
    run(from, lostAt);
    on(lostAt, () => work.fail(job.id, "lost"));
  }
  const again = lostAfter === undefined ? from : lostAt + 30 * MINUTE;
  run(again, from + hours * HOUR);
  on(from + hours * HOUR, () =>
    ends === "out_of_memory"
      ? work.fail(job.id, "out_of_memory")
      : work.end(job.id, ends === "cancelled" ? "cancelled" : "succeeded"),
  );
}

/** Two trainings of each team in a month: lost once, canceled and out of memory by chance; and one over its end. */
export function trainings(story: Story, month: number): void {
  const { pick, at, lab } = story;
  for (const team of Object.values(lab.teams)) {
    for (let n = 0; n < 2; n++) {
      const from = at(month, 1 + pick(20), pick(24)) + pick(3600) * 1000;
      const hours = 8 + pick(30);
      if (!story.isActive(team, from) || !story.isActive(team, from + hours * HOUR)) continue;
      const job: YearJob = {
        id: `ftjob-${team.name}-${month}-${n}`,
        org: team.org,
        userId: team.userId,
        kind: "train",
        gpus: 1 + pick(4),
        pricePerHour: team.name === "Beta" ? 1 : 0,
      };
      const lostAfter = pick(3) === 0 ? 2 + pick(hours - 4) : undefined;
      const ends = ["succeeded", "succeeded", "succeeded", "cancelled", "out_of_memory"][pick(5)] ?? "succeeded";
      training(story, job, { from, hours, lostAfter, ends });
    }
  }
  const { org, userId } = lab.teams.alpha;
  const over: YearJob = { id: `ftjob-over-${month}`, org, userId, kind: "train", gpus: 1, pricePerHour: 0 };
  training(story, over, { from: at(month + 1, 1) - 4 * HOUR, hours: 30, ends: "succeeded" });
}

/** An endpoint that runs from one time to another; without an end it runs on. */
export function endpoint(
  story: Story,
  team: Team,
  { from, to, cost }: { from: number; to?: number; cost: number },
): void {
  const { on, work, prices, lab } = story;
  const id = `servejob-${team.name}-${from}`;
  const job: YearJob = { id, org: team.org, userId: team.userId, kind: "serve", gpus: 1, pricePerHour: cost };
  on(from, () => work.launch(job, costsOfEndpoint(prices, team === lab.teams.gamma)));
  on(from + 5 * MINUTE, () => work.begin(id));
  if (to !== undefined) on(to, () => work.end(id, "cancelled"));
}

/** Requests of a day, before its first pass. */
async function ask({ lab, book, pick, isActive }: Story): Promise<void> {
  for (const { name, org, userId, ...team } of Object.values(lab.teams)) {
    if (!isActive({ name, org, userId, ...team }, lab.now())) continue;
    const [input, output] = [pick(200_000), pick(60_000)];
    await lab.act({ do: "ask", id: `req-${name}-${lab.now()}`, org, userId, input, output });
    book.addTokens(org, lab.now(), input, output);
  }
}

/** What is stored from now on. */
export async function store({ lab, bytes }: Story, { name, org, userId }: Team): Promise<void> {
  await lab.act({ do: "store", id: `file-${name}-${lab.now()}`, org, userId, bytes: CENT_OF_BYTES });
  bytes.set(org, (bytes.get(org) ?? 0) + 1);
}

async function pass(story: Story): Promise<void> {
  const { lab, book, bytes, work } = story;
  const hour = new Date(lab.now()).getUTCHours();
  if (hour === 0) {
    await ask(story);
    // As Stripe does.
    lab.stripe.forgetKeys();
  }
  const { stopped = [] } = await lab.act({ do: "pass", what: "own", fillGaps: false });
  for (const [org, cents] of bytes) book.add(org, lab.now(), cents * 10_000);
  for (const id of stopped) {
    work.stopped(id);
    story.stopped.push(id);
  }
  lab.moveTo(lab.now() + 1000);
  await lab.act({ do: "pass", what: "stripe", fillGaps: hour === 0 });
  await lab.deliver();
}

/** A year, or the first months of one. */
interface YearInput {
  seed: number;
  kills: Kills;
  /** Milliseconds since 1970, the beginning of a month, and how many months follow. */
  start: number;
  months: number;
  /** From one pass of the server to the next; storage is measured in each. It divides a day. */
  passHours: number;
  prices: PriceDates;
  isActive: Story["isActive"];
  /** Plans what happens. */
  plan(story: Story): void;
  /** A line about what has happened. */
  say?: (text: string) => void;
}

/** Lives through a year: first the prices are announced, payments are set up; then what was planned, pass by pass. */
export async function liveThrough(given: YearInput): Promise<Story> {
  const { start, seed, kills } = given;
  const lab = await startYear(start - 31 * DAY, kills, seed);
  try {
    return await live(lab, given);
  } catch (cause) {
    await lab.close();
    throw cause;
  }
}

async function live(lab: YearLab, given: YearInput): Promise<Story> {
  const { start, months, seed, kills, say = () => {} } = given;
  const year = new Date(start).getUTCFullYear();
  const book = createBook();
  const planned: Planned[] = [];
  const story: Story = {
    lab,
    book,
    work: workOf(lab, book),
    pick: randomOf(seed + 2),
    prices: given.prices,
    at: (month, day, hour = 0) => Date.UTC(year, month - 1, day, hour),
    on: (at, act) => void planned.push({ at, act }),
    isActive: given.isActive,
    bytes: new Map(),
    stopped: [],
    suspensions: new Map(),
  };
  await setFirstPrices(lab, start);
  story.on(start - DAY, () =>
    lab.request(lab.teams.alpha, "PATCH", "/v1/billing/settings", {
      mode: "stripe",
      first_month: new Date(start).toISOString().slice(0, 7),
      credit_failed_work: true,
      late: { fee_usd: 10, monthly_interest_percent: 1 },
    }),
  );
  // The server ran before the first request: it begins to count there.
  story.on(start - DAY, () => lab.act({ do: "pass", what: "own", fillGaps: false }));
  given.plan(story);
  const end = Date.UTC(year, months, 4);
  // Passes follow what happens at the same time.
  for (let at = start; at <= end; at += given.passHours * HOUR) planned.push({ at, act: () => pass(story) });
  planned.sort((a, b) => a.at - b.at);
  let month = "";
  for (const { at, act } of planned.filter((each) => each.at <= end)) {
    lab.moveTo(at);
    await act();
    const name = new Date(at).toISOString().slice(0, 7);
    if (name !== month) say(`${name}: ${kills.done.length} kills`);
    month = name;
  }
  story.work.closeBook();
  await lab.stopServer();
  return story;
}

/** The whole year of three teams. */
export function planYear(story: Story): void {
  const { lab, on, at, prices, work } = story;
  const { alpha, beta, gamma } = lab.teams;
  const admin = (method: string, path: string, body: unknown) => lab.request(alpha, method, path, body);
  on(at(1, 1) - 12 * HOUR, async () => {
    await lab.storeCard(alpha, CARDS.good);
    await lab.storeCard(beta, CARDS.declined);
    await lab.storeCard(gamma, CARDS.good);
    await admin("POST", `/v1/admin/orgs/${gamma.org}/billing`, { collection: "send" });
  });
  for (const [n, team] of [alpha, beta, gamma, alpha, gamma].entries())
    on(at(1 + n * 2, 2, 3), () => store(story, team));
  for (let month = 1; month <= 12; month++) trainings(story, month);
  endpoint(story, alpha, { from: at(2, 10, 9), to: at(5, 20, 17), cost: 0 });
  endpoint(story, gamma, { from: at(3, 15, 8), to: at(10, 10, 20), cost: 1 });
  endpoint(story, alpha, { from: at(8, 1, 7), cost: 0 });
  on(at(2, 20), () => setOwnPrice(lab, prices.own));
  on(at(5, 20, 10), () => announceRaise(lab, prices.raise));
  // Lost after its first month was closed: a late interval, with the opposite sign.
  const late: YearJob = {
    id: "ftjob-late",
    org: alpha.org,
    userId: alpha.userId,
    kind: "train",
    gpus: 2,
    pricePerHour: 0,
  };
  on(at(3, 29, 12), () => work.launch(late, costsOfTraining(prices, false, at(3, 29, 12))));
  on(at(3, 29, 13), () => work.begin(late.id));
  on(at(3, 30), () => work.save(late.id));
  on(at(4, 4, 12), () => work.fail(late.id, "bad_result"));
  planBudget(story);
  on(at(3, 5), () => credit(story, alpha, { amount_usd: 50, reason: "goodwill" }));
  on(at(6, 5), () => credit(story, beta, { amount_usd: 10, reason: "outage", expires_at: at(7, 15) / 1000 }));
  on(at(4, 10), () =>
    refund(story, alpha, "2027-02", {
      amount_usd: 25,
      reason: "billing_error",
      include_used_gpu_time: true,
      note: "The wrong GPU was shown",
    }),
  );
  on(at(9, 10), () => refund(story, gamma, "2027-07", { amount_usd: 1, reason: "outage" }));
  // Two weeks after the due date it is suspended; a new card pays what is open.
  story.suspensions.set(beta.org, 2);
  on(at(3, 20, 9), () => lab.storeCard(beta, CARDS.good));
  on(at(8, 25, 9), () => lab.storeCard(beta, CARDS.declined));
  on(at(10, 20, 9), () => lab.storeCard(beta, CARDS.good));
  // Gamma pays before its terms end, but once a week later.
  for (let month = 2; month <= 12; month++) on(at(month, month === 11 ? 25 : 12, 15), () => payOpen(story, gamma));
}

/** A budget of a person stops their training after a checkpoint; it continues when the limit is raised. */
function planBudget({ lab, on, at, work, prices, stopped }: Story): void {
  const { alpha } = lab.teams;
  const userId = lab.memberId;
  const job: YearJob = { id: "ftjob-budget", org: alpha.org, userId, kind: "train", gpus: 2, pricePerHour: 0 };
  const costs = costsOfTraining(prices, false, at(3, 10, 10));
  let budget = "";
  on(at(3, 8), async () => {
    const limits = { scope: "user", scope_id: userId, period: "month", limit_usd: 100 };
    budget = (await lab.request<{ id: string }>(alpha, "POST", "/v1/budgets", limits)).id;
  });
  on(at(3, 10, 10), () => work.launch(job, costs));
  on(at(3, 10, 11), () => work.begin(job.id));
  on(at(3, 12), async () => {
    const { used_usd: used } = await lab.request<{ used_usd: number }>(alpha, "GET", `/v1/budgets/${budget}`);
    if (!stopped.includes(job.id) || used > 100 || used < 50) throw new Error(`the budget stopped nothing at $${used}`);
    await lab.request(alpha, "PATCH", `/v1/budgets/${budget}`, { limit_usd: 400 });
    await work.launch(job, costs);
  });
  on(at(3, 12, 1), () => work.begin(job.id));
  on(at(3, 12, 21), () => work.end(job.id, "succeeded"));
}

async function credit(
  { lab, book }: Story,
  { org }: Team,
  body: { amount_usd: number; reason: string; expires_at?: number },
) {
  await lab.request(lab.teams.alpha, "POST", "/v1/admin/billing/credits", { organization: org, ...body });
  book.addCredit(org, body.amount_usd * 1e6);
}

/** Refunds a part of a paid month. */
export async function refund({ lab }: Story, { org }: Team, month: string, body: object): Promise<void> {
  const { alpha } = lab.teams;
  const { data } = await lab.request<{ data: { id: string; organization: string }[] }>(
    alpha,
    "GET",
    `/v1/admin/billing/statements?month=${month}`,
  );
  const found = data.find(({ organization }) => organization === org);
  await lab.request(alpha, "POST", `/v1/admin/billing/statements/${found?.id}/refunds`, body);
  await lab.act({ do: "pass", what: "stripe", fillGaps: false });
  await lab.deliver();
}

/** A team pays its invoices by itself. */
async function payOpen({ lab }: Story, { org }: Team): Promise<void> {
  for (const { id, status, metadata } of lab.stripe.invoices.values())
    if (status === "open" && metadata?.org === org) await lab.stripe.payAgain(id);
  await lab.deliver();
}
