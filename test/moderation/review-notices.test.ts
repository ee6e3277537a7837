/** The notice to reviewers that cases wait: the first at once, a flood as one, and only to who may review. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { notice, noticeDelivery, noticeEvent } from "../../src/db/schema/notices.ts";
import type { CaseView } from "../../src/moderation/model.ts";
import { startReviewNotices } from "../../src/moderation/review-notices.ts";
import { startNotices } from "../../src/notices/delivery/loop.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { type FakeClock, fakeClock } from "../support/clock.ts";
import { until } from "../support/live.ts";
import { MAIL_USER, type MailBox, startMailBox } from "../support/mail-server.ts";
import { insertTuned, readyBase } from "../support/models.ts";
import { createModerated, type Moderated } from "../support/moderation.ts";

const HOUR_MS = 3_600_000;
let app: TestApp;
let box: MailBox;
let clock: FakeClock;
let of: Moderated;
const stops: (() => void)[] = [];
const models: string[] = [];

beforeAll(async () => {
  box = await startMailBox();
  clock = fakeClock(Date.now());
  app = await createTestApp({ config: { mail_ca: box.ca }, ctx: { clock } });
  await readyBase(app.ctx, "tiny");
  for (let n = 0; n < 5; n++) models.push((await insertTuned(app.ctx, app.orgs.a)).id);
  of = await createModerated({ app });
  await app.json("POST", "/v1/admin/mail", {
    body: {
      host: "localhost",
      port: box.port,
      security: "starttls",
      user: MAIL_USER.name,
      password: MAIL_USER.password,
      from: "lab@example.com",
    },
  });
  await of.settings({ enabled: true });
  stops.push(startNotices(app.ctx), startReviewNotices(app.ctx));
});
afterAll(async () => {
  for (const stop of stops) stop();
  await of.close();
  await Promise.all([app.close(), box.close()]);
});

const report = (id: string | undefined) =>
  app.json("POST", "/v1/moderation/reports", {
    as: "member",
    body: { type: "model", id, category: "other", text: "It insults people." },
  });
/** What was sent, by address, once there are `n` mails and nothing waits. */
async function sent(n: number) {
  await until(
    `${n} mails`,
    async () => {
      const rows = await app.ctx.db.select({ state: noticeDelivery.state }).from(noticeDelivery);
      return box.taken.length >= n && rows.every(({ state }) => state === "sent");
    },
    45_000,
    5,
  );
  return box.taken.map(({ to, text }) => [to, text.split("\n")[0]]).sort();
}

test("the first case is announced at once, and a flood as one notice an hour later", async () => {
  await report(models[0]);
  const everybody = [
    "admin@example.test",
    "other-admin@example.test",
    "reviewer-1@example.test",
    "reviewer-2@example.test",
  ];
  expect(await sent(4)).toEqual(everybody.map((to) => [to, "1 case waits for review"]));
  expect(box.taken[0]?.text).toContain("In the moderation queue: 1 new.");
  expect(box.taken[0]?.text).toContain("/review");
  box.taken.length = 0;
  for (const id of models.slice(1, 4)) await report(id);
  clock.advance(HOUR_MS - 1);
  await app.json("GET", "/v1/moderation/cases?limit=10", of.as(0));
  expect((await app.ctx.db.select().from(noticeEvent)).filter(({ type }) => type === "review.waiting")).toHaveLength(4);
  clock.advance(1);
  expect(await sent(4)).toEqual(everybody.map((to) => [to, "4 cases wait for review"]));
});

test("nothing is sent while nothing new waits, and an appeal counts as new", async () => {
  box.taken.length = 0;
  clock.advance(2 * HOUR_MS);
  const { data } = await app.json<{ data: CaseView[] }>("GET", "/v1/moderation/cases?limit=10", of.as(0));
  for (const { id } of data) expect((await of.decide(0, id, "warn")).status).toBe(200);
  await app.json("POST", `/v1/moderation/decisions/${data[0]?.id}/appeal`, { body: { text: "It is a joke." } });
  expect((await sent(4)).map(([, title]) => title)).toEqual(Array(4).fill("1 case waits for review"));
  expect(box.taken.map(({ text }) => text).join()).toContain("In the moderation queue: 1 appealed.");
  await of.decide(0, data[0]?.id ?? "", "warn");
});

test("each reviewer may switch the mail or the page off", async () => {
  box.taken.length = 0;
  clock.advance(2 * HOUR_MS);
  await app.json("POST", "/v1/notices/preferences", { body: { reviews: { mail: false } } });
  await app.json("POST", "/v1/notices/preferences", { as: "otherAdmin", body: { reviews: { page: false } } });
  const before = (await app.ctx.db.select().from(notice)).filter(({ type }) => type === "review.waiting").length;
  await report(models[4]);
  expect((await sent(3)).map(([to]) => to)).toEqual([
    "other-admin@example.test",
    "reviewer-1@example.test",
    "reviewer-2@example.test",
  ]);
  const rows = (await app.ctx.db.select().from(notice)).filter(({ type }) => type === "review.waiting");
  expect(rows.length - before).toBe(3);
});

test("the page shows the choice to who may review, and saves what it shows", async () => {
  const show = async (headers: object) =>
    (
      await app.request("GET", "/settings/notifications", {
        as: "anonymous",
        headers: { accept: "text/html", ...headers },
      })
    ).text();
  expect(await show(of.as(0).headers)).toContain("Cases to review, by e-mail");
  const member = { authorization: `Bearer ${app.keys.member}` };
  expect(await show(member)).not.toContain("Cases to review");
  await app.request("POST", "/settings/notifications", {
    as: "member",
    form: { incidents_mail: "on", jobs_page: "on" },
  });
  expect(await app.json("GET", "/v1/notices/preferences", { as: "member" })).toMatchObject({
    jobs: { page: true, mail: false },
    incidents: { page: false, mail: true },
    reviews: { page: true, mail: true },
    security: { page: true, mail: true },
  });
});
