/** Decisions of moderation over HTTP: appeals, a second reviewer, suspension, and the role of a reviewer. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { createKey } from "../../src/accounts/api-keys/service.ts";
import { systemActor } from "../../src/ctx.ts";
import { auditLog } from "../../src/db/schema/audit.ts";
import { moderationCase } from "../../src/db/schema/moderation.ts";
import type { CaseView, DecisionView } from "../../src/moderation/model.ts";
import type { TestApp } from "../support/app.ts";
import { clean, createModerated, errorOf, type Moderated, row } from "../support/moderation.ts";

let of: Moderated;
let app: TestApp;
let as: Moderated["as"];
let upload: Moderated["upload"];
let rule: Moderated["rule"];
let settings: Moderated["settings"];
let checked: Moderated["checked"];
let casesAbout: Moderated["casesAbout"];
let decide: Moderated["decide"];
let train: Moderated["train"];
let noticesAbout: Moderated["noticesAbout"];

beforeAll(async () => {
  of = await createModerated();
  ({ app, upload, rule, settings, checked, casesAbout, decide, train, noticesAbout } = of);
  ({ as } = of);
  await settings({ enabled: true });
  await rule({ name: "Bombs", category: "illicit/violent", keywords: ["pipe bomb"], action: "hold" });
});
afterAll(() => of.close());

test("a warning leaves everything usable and says so", async () => {
  const { version } = await upload([...clean(10, "warn"), row("a", "pipe bomb")]);
  await checked(version.id);
  const [open] = await casesAbout(version.id);
  await decide(0, open?.id ?? "", "warn", "Be careful.");
  expect((await train(version.file_id)).status).toBe(200);
  const notices = await noticesAbout(version.id);
  expect(notices.at(-1)?.title).toContain("with a warning");
});

test("an owner appeals, and a reviewer decides again", async () => {
  const { version } = await upload([...clean(10, "appeal"), row("a", "pipe bomb")]);
  await checked(version.id);
  const [open] = await casesAbout(version.id);
  const id = open?.id ?? "";
  const appeal = (who: "admin" | "member" | "other", text = "It is a chapter of a history book.") =>
    app.request("POST", `/v1/moderation/decisions/${id}/appeal`, { as: who, body: { text } });
  expect(await errorOf(await appeal("admin"))).toMatchObject({ code: "nothing_to_appeal" });
  await decide(0, id, "restrict");
  const seen = await app.json<DecisionView>("GET", `/v1/moderation/decisions/${id}`);
  expect(seen).toMatchObject({ decision: "restrict", reason: "It names a weapon.", state: "decided", appeal: null });
  expect(JSON.stringify(seen)).not.toContain("reviewer");
  expect((await appeal("other")).status).toBe(404);
  expect(await errorOf(await appeal("member"))).toMatchObject({ code: "permission_denied" });
  expect((await appeal("admin")).status).toBe(200);
  expect(await errorOf(await appeal("admin"))).toMatchObject({ code: "appeal_exists" });
  expect((await train(version.file_id)).status).toBe(403);
  const [appealed] = await casesAbout(version.id);
  expect(appealed?.state).toBe("appealed");
  expect(appealed?.history.at(-1)).toMatchObject({ kind: "appeal", text: "It is a chapter of a history book." });
  await decide(0, id, "approve", "You are right.");
  expect((await train(version.file_id)).status).toBe(200);
});

test("where two reviewers are required, the second must be another person", async () => {
  await settings({ second_reviewer: true });
  const { version } = await upload([...clean(10, "two"), row("a", "pipe bomb")]);
  await checked(version.id);
  const [open] = await casesAbout(version.id);
  const id = open?.id ?? "";
  const proposed = (await (await decide(0, id, "restrict")).json()) as CaseView;
  expect(proposed).toMatchObject({ state: "second_review", decision: null });
  expect((await noticesAbout(version.id)).map(({ type }) => type)).toEqual(["moderation.held"]);
  expect(await errorOf(await decide(0, id, "restrict"))).toMatchObject({ code: "second_reviewer_needed" });
  // Another decision by the second person is a new proposal, which the first one may confirm.
  expect(await (await decide(1, id, "warn")).json()).toMatchObject({ state: "second_review" });
  expect(await errorOf(await decide(1, id, "warn"))).toMatchObject({ code: "second_reviewer_needed" });
  expect(await (await decide(0, id, "warn")).json()).toMatchObject({ state: "decided", decision: "warn" });
  const [audited] = await app.ctx.db.select().from(auditLog).where(eq(auditLog.action, "moderation_case.propose"));
  expect(audited?.target).toBe(id);
  await settings({ second_reviewer: false });
});

test("a user or an organization is suspended by a decision, and an appeal lifts it", async () => {
  const { version } = await upload([...clean(10, "suspend"), row("a", "pipe bomb")]);
  await checked(version.id);
  // Of somebody who may be suspended: the administrator of the organization is not the last one.
  await app.ctx.write((tx) =>
    tx.update(moderationCase).set({ ownerId: app.users.member }).where(eq(moderationCase.subject, version.id)),
  );
  const [open] = await casesAbout(version.id);
  const id = open?.id ?? "";
  expect((await app.request("GET", "/v1/jobs", { as: "member" })).status).toBe(200);
  expect((await decide(0, id, "suspend_user", "It happened three times.")).status).toBe(200);
  const refused = await app.request("GET", "/v1/jobs", { as: "member" });
  expect([refused.status, (await errorOf(refused)).message]).toEqual([
    403,
    expect.stringContaining("It happened three times."),
  ]);
  expect((await train(version.file_id)).status).toBe(403);
  await app.json("POST", `/v1/moderation/decisions/${id}/appeal`, { body: { text: "We talked to them." } });
  expect((await decide(1, id, "approve", "Lifted.")).status).toBe(200);
  expect((await app.request("GET", "/v1/jobs", { as: "member" })).status).toBe(200);
  expect((await train(version.file_id)).status).toBe(200);

  const other = await upload([...clean(10, "organization"), row("a", "pipe bomb")]);
  await checked(other.version.id);
  const [second] = await casesAbout(other.version.id);
  expect((await decide(0, second?.id ?? "", "suspend_organization", "All of it.")).status).toBe(200);
  expect((await app.request("GET", "/v1/jobs", { as: "member" })).status).toBe(403);
  await app.ctx.write((tx) =>
    tx
      .update(moderationCase)
      .set({ state: "appealed" })
      .where(eq(moderationCase.id, second?.id ?? "")),
  );
  expect((await decide(0, second?.id ?? "", "warn", "Once more.")).status).toBe(200);
  expect((await app.request("GET", "/v1/jobs", { as: "member" })).status).toBe(200);
});

test("nobody decides about what is their own", async () => {
  const { version } = await upload([...clean(10, "own"), row("a", "pipe bomb")]);
  await checked(version.id);
  const [open] = await casesAbout(version.id);
  const own = await app.request("POST", `/v1/moderation/cases/${open?.id}/decide`, {
    body: { decision: "approve", reason: "Fine." },
  });
  expect(await errorOf(own)).toMatchObject({ code: "own_case" });
});

test("a reviewer sees flagged content of all organizations and nothing else", async () => {
  for (const path of [
    "/v1/datasets",
    "/v1/jobs",
    "/v1/models",
    "/v1/usage",
    "/v1/organization",
    "/v1/moderation/rules",
    "/v1/admin/users",
  ])
    expect([path, (await app.request("GET", path, as(0))).status]).toEqual([path, 403]);
  const page = await app.request("GET", "/review", { ...as(0), headers: { ...as(0).headers, accept: "text/html" } });
  const text = await page.text();
  expect(page.status).toBe(200);
  expect(text).not.toContain('href="/datasets"');
  expect(text).not.toContain('href="/admin"');
  const home = await app.request("GET", "/", { ...as(0), headers: { ...as(0).headers, accept: "text/html" } });
  expect(home.headers.get("location")).toBe("/review");
  for (const who of ["member", "other"] as const)
    expect((await app.request("GET", "/v1/moderation/cases", { as: who })).status).toBe(403);
  expect((await app.request("GET", "/v1/moderation/cases", { as: "otherAdmin" })).status).toBe(200);
  // A narrow key of a reviewer is no key of a member.
  const [reviewer] = (
    await app.json<{ data: { id: string; role: string }[] }>("GET", "/v1/admin/users?limit=100")
  ).data.filter(({ role }) => role === "reviewer");
  const { key } = await createKey(app.ctx, systemActor(), {
    name: "n",
    userId: reviewer?.id ?? "",
    scopes: ["read"],
  });
  const narrow = { as: "anonymous" as const, headers: { authorization: `Bearer ${key}` } };
  expect((await app.request("GET", "/v1/datasets", narrow)).status).toBe(403);
  expect((await app.request("GET", "/v1/moderation/cases", narrow)).status).toBe(403);
});
