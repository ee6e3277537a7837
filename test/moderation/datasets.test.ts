/** Moderation of datasets over HTTP: rules, checks, holds, restriction and removal, notices, audit. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { eq } from "drizzle-orm";
import { forgetRestrictions, lift, restrict, restrictionOf } from "../../src/accounts/restrictions/service.ts";
import { auditLog } from "../../src/db/schema/audit.ts";
import { moderationCase, moderationCheck, restriction } from "../../src/db/schema/moderation.ts";
import type { TestApp } from "../support/app.ts";
import { clean, createModerated, errorOf, type Moderated, row } from "../support/moderation.ts";

let of: Moderated;
let app: TestApp;
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
});
afterAll(() => of.close());

test("switched off, as at first, nothing is stored and nothing runs", async () => {
  expect(await app.json("GET", "/v1/moderation/settings")).toMatchObject({ enabled: false, second_reviewer: false });
  await rule({ name: "Bombs", category: "illicit/violent", keywords: ["pipe bomb"], action: "hold" });
  const { version } = await upload([...clean(20, "off"), row("how", "A pipe bomb is made so.")]);
  expect(version.status).toBe("ready");
  expect(await app.ctx.db.select().from(moderationCheck)).toEqual([]);
  expect(await app.ctx.db.select().from(restriction)).toEqual([]);
  expect(await app.ctx.db.select().from(moderationCase)).toEqual([]);
  expect((await train(version.file_id)).status).toBe(200);
});

test("a restriction of an open transaction is not lost when another one is lifted", async () => {
  const [started, committing] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const held = { subject: "dsv_open", org: app.orgs.a, object: "dataset_version", name: "a", hash: null } as const;
  const writing = app.ctx.write(async (tx) => {
    await restrict(tx, app.ctx, { ...held, kind: "held", reason: "checks run.", caseId: null });
    started.resolve();
    await committing.promise;
  });
  await started.promise;
  const read = forgetRestrictions(app.ctx);
  // The other one has had all the time it needs to read.
  await app.ctx.db.select().from(restriction);
  await app.ctx.db.select().from(restriction);
  committing.resolve();
  await Promise.all([writing, read]);
  expect(await restrictionOf(app.ctx, held.subject)).toMatchObject({ kind: "held" });
  await app.ctx.write((tx) => lift(tx, held.subject));
  await forgetRestrictions(app.ctx);
  expect(await restrictionOf(app.ctx, held.subject)).toBeNull();
});

describe("switched on", () => {
  beforeAll(async () => {
    await settings({ enabled: true });
    await rule({ name: "Own names", category: "other", pattern: "(?i)\\bproject[- ]falcon\\b", action: "flag" });
  });

  test("a clean dataset passes, and can be used", async () => {
    const { version } = await upload(clean(20, "clean"));
    expect(await checked(version.id)).toMatchObject({ state: "passed", done: 20 });
    expect(await casesAbout(version.id)).toEqual([]);
    expect((await train(version.file_id)).status).toBe(200);
  });

  test("words and patterns are found in their context, in every part of a row and in both splits", async () => {
    const lines = [
      ...clean(18, "found"),
      row("How do I build a Pipe-BOMB at home?", "No."),
      row("What is it?", "It is Project Falcon, of course."),
    ];
    const { dataset, version } = await upload(lines);
    expect(await checked(version.id)).toMatchObject({ state: "flagged" });
    const [found] = await casesAbout(version.id);
    expect(found).toMatchObject({
      state: "open",
      type: "dataset_version",
      dataset_id: dataset.id,
      organization: app.orgs.a,
      owner: app.users.admin,
      flagged: 2,
      hash: version.hash,
    });
    expect(found?.categories.toSorted()).toEqual(["illicit/violent", "other"]);
    const byRule = new Map(found?.findings.map((one) => [one.rule_name, one]));
    expect(byRule.get("Bombs")).toMatchObject({
      part: "messages.0",
      row: 19,
      rule_version: 1,
      excerpt: { before: "How do I build a ", match: "Pipe-BOMB", after: " at home?" },
    });
    expect(byRule.get("Own names")).toMatchObject({
      part: "messages.1",
      row: 20,
      excerpt: { before: "It is ", match: "Project Falcon", after: ", of course." },
    });
  });

  test("a rule that flags leaves the dataset usable; one that holds refuses it until it is decided", async () => {
    const flagged = await upload([...clean(10, "flag"), row("a", "project falcon")]);
    await checked(flagged.version.id);
    expect((await train(flagged.version.file_id)).status).toBe(200);

    const held = await upload([...clean(10, "hold"), row("a", "pipe bomb")]);
    await checked(held.version.id);
    const refused = await train(held.version.file_id);
    expect(refused.status).toBe(409);
    expect(await errorOf(refused)).toMatchObject({ code: "held_for_moderation", param: "training_file" });
    const [open] = await casesAbout(held.version.id);
    const page = await (
      await app.request("GET", `/datasets/${held.dataset.id}`, { headers: { accept: "text/html" } })
    ).text();
    expect(page).toContain("Held for review");
    expect(page).toContain(`href="/moderation/${open?.id}"`);
    expect(page).not.toContain(`/jobs/new?data=`);
    expect(await noticesAbout(held.version.id)).toMatchObject([
      { type: "moderation.held", userId: app.users.admin, path: `/moderation/${open?.id}` },
    ]);

    expect((await decide(0, open?.id ?? "", "approve", "It is about history.")).status).toBe(200);
    expect((await train(held.version.file_id)).status).toBe(200);
    const again = await decide(0, open?.id ?? "", "restrict");
    expect(await errorOf(again)).toMatchObject({ code: "case_decided" });
  });

  test("restricting refuses jobs in API and page, notifies the owner of the reason, and is in the audit log", async () => {
    const { dataset, version } = await upload([...clean(10, "restrict"), row("a", "pipe bomb")]);
    await checked(version.id);
    const [open] = await casesAbout(version.id);
    expect((await decide(0, open?.id ?? "", "restrict", "It names a weapon.")).status).toBe(200);
    const refused = await train(version.file_id);
    expect(refused.status).toBe(403);
    const error = await errorOf(refused);
    expect(error.code).toBe("restricted");
    expect(error.message).toContain("It names a weapon.");
    const form = { data: version.id, model: "tiny" };
    const byPage = await app.request("POST", "/jobs", { form, headers: { accept: "text/html" } });
    expect(byPage.status).toBe(422);
    expect(await byPage.text()).toContain("It names a weapon.");
    const merged = await app.request("POST", `/v1/datasets/${dataset.id}/merge`, { body: { dataset: version.id } });
    expect(merged.status).toBeGreaterThanOrEqual(400);
    // It can still be seen and exported.
    expect((await app.request("GET", `/v1/datasets/${dataset.id}`)).status).toBe(200);
    const notices = await noticesAbout(version.id);
    const decided = notices.find(({ type }) => type === "moderation.decided");
    expect(decided?.title).toContain("is restricted");
    expect(decided?.body).toContain("Reason: It names a weapon.");
    const entries = await app.ctx.db
      .select()
      .from(auditLog)
      .where(eq(auditLog.target, open?.id ?? ""));
    expect(entries.map(({ action, org }) => [action, org])).toEqual([
      ["moderation_case.create", app.orgs.a],
      ["moderation_case.decide", app.orgs.a],
    ]);
    expect(entries[1]?.detail).toMatchObject({
      decision: "restrict",
      reason: "It names a weapon.",
      hash: version.hash,
    });
  });

  test("removing erases rows and file, keeps a tombstone, and flags the same content when it comes again", async () => {
    const lines = [...clean(10, "remove"), row("a", "pipe bomb secret-phrase-7")];
    const { dataset, version } = await upload(lines);
    await checked(version.id);
    const [open] = await casesAbout(version.id);
    expect((await decide(0, open?.id ?? "", "remove", "It explains a weapon.")).status).toBe(200);
    expect(existsSync(app.ctx.files.path("datasets", version.id))).toBe(false);
    expect(existsSync(app.ctx.files.path("files", version.file_id))).toBe(false);
    const gone = await app.request("GET", `/v1/datasets/${dataset.id}`);
    expect(gone.status).toBe(410);
    const error = await errorOf(gone);
    expect(error.code).toBe("removed");
    expect(error.message).toContain("It explains a weapon.");
    expect(error.message).toContain(version.hash ?? "no hash");
    const other = await app.request("GET", `/v1/datasets/${dataset.id}`, { as: "other" });
    expect(other.status).toBe(404);
    const headers = { accept: "text/html" };
    const list = await (await app.request("GET", "/datasets", { headers })).text();
    expect(list).toContain("Removed by a reviewer");
    expect(list).toContain("It explains a weapon.");
    const page = await app.request("GET", `/datasets/${dataset.id}`, { headers });
    expect(page.headers.get("location")).toBe(`/moderation/${open?.id}`);
    const why = await (await app.request("GET", `/moderation/${open?.id}`, { headers })).text();
    expect(why).toContain("It explains a weapon.");
    expect(why).toContain(version.hash ?? "no hash");
    const [left] = await casesAbout(version.id);
    expect(JSON.stringify(left)).not.toContain("secret-phrase-7");

    const again = await upload(lines);
    await checked(again.version.id);
    const [back] = await casesAbout(again.version.id);
    expect(back?.findings.some(({ rule_name }) => rule_name === "Removed before")).toBe(true);
    expect(await errorOf(await train(again.version.file_id))).toMatchObject({ code: "held_for_moderation" });
  });

  test("personal data is found by its detectors, and shown masked", async () => {
    const made = await rule({ name: "Cards", category: "personal-data", pii: ["card", "iban"], threshold: 0.9 });
    const { version } = await upload([
      ...clean(10, "pii"),
      row("My card?", "It is 4111 1111 1111 1111, mail me at a@b.example."),
    ]);
    await checked(version.id);
    const [open] = await casesAbout(version.id);
    expect(open?.categories).toEqual(["personal-data"]);
    expect(open?.findings).toMatchObject([
      { rule_name: "Cards", part: "messages.1", score: 0.95, excerpt: { before: "It is ", match: "**** 1111" } },
    ]);
    await app.request("DELETE", `/v1/moderation/rules/${made.id}`);
  });

  test("a pattern that would take forever elsewhere is linear, and one that RE2 cannot read is refused", async () => {
    const bad = await app.request("POST", "/v1/moderation/rules", {
      body: { name: "Back", category: "other", pattern: "(a)\\1" },
    });
    expect(await errorOf(bad)).toMatchObject({ code: "invalid_pattern", param: "pattern" });
    const slow = await rule({ name: "Nested", category: "other", pattern: "^(a+)+$", on_models: false });
    const { version } = await upload([...clean(10, "Slow"), row("What?", `${"a".repeat(200_000)}!`)]);
    const started = performance.now();
    expect(await checked(version.id)).toMatchObject({ state: "passed" });
    expect(performance.now() - started).toBeLessThan(20_000);
    await app.request("DELETE", `/v1/moderation/rules/${slow.id}`);
  });

  test("rules have versions, and every change is audited", async () => {
    const made = await rule({ name: "Versions", category: "other", keywords: ["zzz"], enabled: false });
    const changed = await app.json<{ version: number; keywords: string[] }>("POST", `/v1/moderation/rules/${made.id}`, {
      body: { keywords: ["yyy"] },
    });
    expect(changed).toMatchObject({ version: 2, keywords: ["yyy"] });
    const both = await app.request("POST", `/v1/moderation/rules/${made.id}`, {
      body: { keywords: ["a"], pattern: "b" },
    });
    expect(await errorOf(both)).toMatchObject({ code: "invalid_value", param: "pattern" });
    const entries = await app.ctx.db.select().from(auditLog).where(eq(auditLog.target, made.id));
    expect(entries.map(({ action }) => action)).toEqual(["moderation_rule.create", "moderation_rule.update"]);
    for (const who of ["member", "otherAdmin"] as const)
      expect((await app.request("GET", "/v1/moderation/rules", { as: who })).status).toBe(who === "member" ? 403 : 200);
  });

  test("switching off ends what waits, and keeps what was decided", async () => {
    const before = (await app.ctx.db.select().from(restriction)).filter(
      ({ kind }) => kind === "restricted" || kind === "removed",
    );
    await settings({ enabled: false });
    const after = await app.ctx.db.select().from(restriction);
    expect(after.filter(({ kind }) => kind === "restricted" || kind === "removed")).toEqual(before);
    const { version } = await upload([...clean(10, "last"), row("b", "pipe bomb")]);
    expect((await app.ctx.db.select().from(moderationCheck)).some(({ subject }) => subject === version.id)).toBe(false);
    expect((await train(version.file_id)).status).toBe(200);
  });
});
