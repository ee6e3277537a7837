/** An application with two reviewers, and what tests of moderation do with it. */
import { eq } from "drizzle-orm";
import { createKey } from "../../src/accounts/api-keys/service.ts";
import { createUser } from "../../src/accounts/auth/service.ts";
import { systemActor } from "../../src/ctx.ts";
import { moderationCheck } from "../../src/db/schema/moderation.ts";
import { noticeEvent } from "../../src/db/schema/notices.ts";
import { startModeration } from "../../src/moderation/checks.ts";
import type { CaseView } from "../../src/moderation/model.ts";
import { createTestApp, PASSWORD, type TestApp, type TestAppOptions } from "./app.ts";
import { validated } from "./datasets.ts";
import { until } from "./live.ts";
import { readyBase } from "./models.ts";

/** A chat row as a line. */
export const row = (question: string, answer: string) =>
  JSON.stringify({
    messages: [
      { role: "user", content: question },
      { role: "assistant", content: answer },
    ],
  });
/** Rows in which nothing is found; `seed` keeps datasets apart. */
export const clean = (n: number, seed: string) =>
  Array.from({ length: n }, (_, i) => row(`${seed} question ${i}`, `answer ${i}`));

export const errorOf = async (answer: Response) =>
  ((await answer.json()) as { error: { code: string; message: string; param: string | null } }).error;

/** The reviewers, two accounts of organization B without any other right, have the numbers 0 and 1. */
export async function createModerated(options: TestAppOptions & { app?: TestApp } = {}) {
  const app = options.app ?? (await createTestApp(options));
  if (!options.app) await readyBase(app.ctx, "tiny");
  const stop = startModeration(app.ctx);
  const reviewers: string[] = [];
  for (const n of [1, 2]) {
    const account = { email: `reviewer-${n}@example.test`, password: PASSWORD, role: "reviewer" as const };
    const { id } = await createUser(app.ctx, systemActor(), { ...account, org: app.orgs.b });
    reviewers.push((await createKey(app.ctx, systemActor(), { name: "r", userId: id })).key);
  }
  const as = (n: number) => ({
    as: "anonymous" as const,
    headers: { authorization: `Bearer ${reviewers[n]}` } as Record<string, string>,
  });
  return {
    app,
    as,
    upload: (lines: string[]) => validated(app, `${lines.join("\n")}\n`),
    rule: (body: object) => app.json<{ id: string; version: number }>("POST", "/v1/moderation/rules", { body }),
    settings: (body: object) => app.json("POST", "/v1/moderation/settings", { body }),
    /** The check of a version or model once it ended. */
    checked: (subject: string) =>
      until(`the check of ${subject}`, async () => {
        const [found] = await app.ctx.db.select().from(moderationCheck).where(eq(moderationCheck.subject, subject));
        return found && found.state !== "waiting" ? found : null;
      }),
    async casesAbout(subject: string) {
      const { data } = await app.json<{ data: CaseView[] }>("GET", "/v1/moderation/cases?limit=100", as(0));
      return data.filter((one) => one.subject === subject);
    },
    decide: (n: number, id: string, decision: string, reason = "It names a weapon.") =>
      app.request("POST", `/v1/moderation/cases/${id}/decide`, { ...as(n), body: { decision, reason } }),
    train: (file: string) =>
      app.request("POST", "/v1/fine_tuning/jobs", { body: { model: "tiny", training_file: file } }),
    noticesAbout: (subject: string) => app.ctx.db.select().from(noticeEvent).where(eq(noticeEvent.subject, subject)),
    async close() {
      stop();
      if (!options.app) await app.close();
    },
  };
}
export type Moderated = Awaited<ReturnType<typeof createModerated>>;
