/** Pushes to a hub in every state, for screenshots. */
import type { Actor, Ctx } from "../../src/ctx.ts";
import { hubPush } from "../../src/db/schema/pushes.ts";
import { idOf, MINUTE } from "./seed-rows.ts";

export async function addPushes(ctx: Ctx, actor: Actor, model: string): Promise<void> {
  const now = ctx.clock.now();
  const bytes = 19_400_000;
  const common = {
    org: actor.org,
    model,
    artifactId: "art_model0",
    hub: "https://huggingface.co",
    branch: "main",
    private: true,
    message: "Upload",
    ownToken: true,
    createdBy: actor.userId,
  };
  const rows = [
    { repo: "acme/support-intents", status: "running", phase: "uploading", bytesTotal: bytes, bytesDone: bytes * 0.62 },
    {
      repo: "acme-research/a-longer-name-of-a-repository-for-support-intents",
      branch: "candidates/2026-11",
      status: "failed",
      error:
        "huggingface.co denies writing to acme-research/a-longer-name. Push with a token that has write access to it. It says: Forbidden.",
    },
    { repo: "acme/support-intents-gguf", format: "gguf-q8_0", status: "done", bytesTotal: bytes, bytesDone: bytes },
    { repo: "acme/first-try", status: "canceled" },
  ] as const;
  await ctx.write((tx) =>
    tx.insert(hubPush).values(
      rows.map((row, n) => {
        const at = { createdAt: now - n * 9 * MINUTE, finishedAt: row.status === "running" ? null : now };
        return { ...common, ...at, id: idOf("push_", n), ...row };
      }),
    ),
  );
}
