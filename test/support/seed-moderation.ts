/** Seeded moderation: two rules, a flagged dataset, an appealed decision, a report, a removed dataset. */
import { storeSettings } from "../../src/accounts/restrictions/requests.ts";
import { forgetRestrictions, restrict } from "../../src/accounts/restrictions/service.ts";
import type { Actor, Ctx } from "../../src/ctx.ts";
import { moderationCase, moderationEntry } from "../../src/db/schema/moderation.ts";
import type { Finding } from "../../src/moderation/model.ts";
import { createRule } from "../../src/moderation/rules.ts";
import { idOf } from "./seed-rows.ts";

const HOUR = 3_600_000;
const HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

const finding = (of: Partial<Finding>): Finding => ({
  rule: "mrule_seed",
  rule_name: "Weapons and explosives",
  rule_version: 3,
  category: "illicit/violent",
  score: 1,
  count: 14,
  split: "train",
  row: 212,
  part: "messages.1",
  prompt: null,
  excerpt: {
    before: "…the old manual from the attic. The second chapter explains in nine steps how a ",
    match: "pipe bomb",
    after:
      " was assembled, with the amounts that the author claims to have used in his own shed. The customer asks wheth…",
  },
  ...of,
});

export async function addModeration(ctx: Ctx, actor: Actor): Promise<void> {
  const now = ctx.clock.now();
  const limits = { threshold: 0.5, on_datasets: true, on_models: true, enabled: true };
  await createRule(ctx, actor, {
    ...limits,
    name: "Weapons and explosives",
    category: "illicit/violent",
    action: "hold",
    keywords: ["pipe bomb", "nail bomb", "detonator"],
  });
  await createRule(ctx, actor, {
    ...limits,
    name: "Names of projects that are not public yet",
    category: "other",
    action: "flag",
    pattern: "(?i)\\bproject[- ](falcon|heron)\\b",
  });
  const base = { org: actor.org, ownerId: actor.userId, createdAt: now };
  const dataset = { object: "dataset_version", hash: HASH, source: "check" } as const;
  const cases: (typeof moderationCase.$inferInsert)[] = [
    {
      ...base,
      ...dataset,
      id: "mcase_seed0",
      subject: idOf("dsv_", 2),
      datasetId: idOf("ds_", 2),
      name: "support-messages-of-the-spring, version 3",
      state: "open",
      categories: ["illicit/violent", "other"],
      flagged: 17,
      findings: [
        finding({}),
        finding({
          rule_name: "Names of projects that are not public yet",
          rule_version: 1,
          category: "other",
          count: 3,
          split: "holdout",
          row: 1_904,
          part: "chosen.0",
          excerpt: { before: "Please ask again after the launch of ", match: "Project Falcon", after: "." },
        }),
        finding({
          row: 348,
          part: "text",
          excerpt: {
            before: "كيف أصنع ",
            match: "قنبلة أنبوبية",
            after: " في المنزل؟ هذا السؤال لا يمكن الإجابة عليه.",
          },
        }),
      ],
    },
    {
      ...base,
      ...dataset,
      id: "mcase_seed1",
      subject: idOf("dsv_", 1),
      datasetId: idOf("ds_", 1),
      name: "history-of-mining-textbook, version 1",
      state: "appealed",
      decision: "restrict",
      reason: "It explains how explosives are made.",
      decidedAt: now - 5 * HOUR,
      categories: ["illicit/violent"],
      flagged: 41,
      findings: [finding({ row: 12, count: 41 })],
      createdAt: now - 9 * HOUR,
    },
    {
      ...base,
      id: "mcase_seed2",
      object: "deployment",
      subject: "smollm2-135m-instruct",
      name: "Endpoint of the support team",
      source: "report",
      state: "open",
      categories: ["hate"],
      flagged: 0,
      findings: [],
      createdAt: now - 30 * HOUR,
    },
    {
      ...base,
      ...dataset,
      id: "mcase_seed3",
      subject: "dsv_removed",
      datasetId: "ds_removed",
      name: "scraped-forum-threads-with-a-very-long-name-that-somebody-typed-in-a-hurry, version 2",
      state: "decided",
      decision: "remove",
      reason: "It has addresses and phone numbers of private people, who did not agree to it.",
      decidedAt: now - 50 * HOUR,
      categories: ["personal-data"],
      flagged: 3_214,
      findings: [],
      createdAt: now - 60 * HOUR,
    },
  ];
  const entry = { userId: actor.userId, value: null };
  await ctx.write(async (tx) => {
    await storeSettings(tx, ctx, { enabled: true, second_reviewer: false });
    for (const one of cases) await tx.insert(moderationCase).values(one);
    await tx.insert(moderationEntry).values([
      {
        ...entry,
        id: "mentry_seed0",
        caseId: "mcase_seed1",
        kind: "decision",
        value: "restrict",
        text: "It explains how explosives are made.",
        createdAt: now - 5 * HOUR,
      },
      {
        ...entry,
        id: "mentry_seed1",
        caseId: "mcase_seed1",
        kind: "appeal",
        text: "This is a textbook for mining schools, and it is printed in every library.\nChapter 4 has the safety rules.",
        createdAt: now - 4 * HOUR,
      },
      {
        ...entry,
        id: "mentry_seed2",
        caseId: "mcase_seed2",
        kind: "report",
        value: "hate",
        text: "I asked for the opening hours and it insulted my neighborhood.",
        createdAt: now - 30 * HOUR,
      },
    ]);
    await restrict(tx, ctx, {
      subject: idOf("dsv_", 1),
      org: actor.org,
      object: "dataset_version",
      kind: "restricted",
      name: "history-of-mining-textbook, version 1",
      hash: HASH,
      reason: "It explains how explosives are made.",
      caseId: "mcase_seed1",
    });
    await restrict(tx, ctx, {
      subject: "ds_removed",
      org: actor.org,
      object: "dataset",
      kind: "removed",
      name: "scraped-forum-threads-with-a-very-long-name-that-somebody-typed-in-a-hurry",
      hash: HASH,
      reason: "It has addresses and phone numbers of private people, who did not agree to it.",
      caseId: "mcase_seed3",
    });
  });
  await forgetRestrictions(ctx);
}
