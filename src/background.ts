/** The background work of all rooms, started with the server and stopped before it. */

import { flushRefusals } from "./accounts/audit/refusals.ts";
import { startAuditRetention } from "./accounts/audit/retention.ts";
import { flushKeyUse } from "./accounts/keys/cache.ts";
import { startSuspensions } from "./accounts/suspension/service.ts";
import { startBudgets } from "./billing/budgets/watch.ts";
import { startCollecting } from "./billing/collect/run.ts";
import { startLate } from "./billing/late/pass.ts";
import { startClosing } from "./billing/statements/pass.ts";
import { startStripe } from "./billing/stripe/run.ts";
import { startInventory } from "./compute/hosts/inventory.ts";
import { startAccountChecks } from "./compute/limits/accounts.ts";
import type { Ctx } from "./ctx.ts";
import { startArchives } from "./custody/archives/run.ts";
import { startSubjects } from "./custody/subjects/run.ts";
import { startDatasets } from "./data/datasets/sweep.ts";
import { startImports } from "./data/imports/run.ts";
import { startScans } from "./data/privacy/scan.ts";
import { startWalWatch } from "./db/wal.ts";
import { startErasure } from "./erasure/worker.ts";
import { startEvaluations } from "./evaluation/sweep.ts";
import { plainSecrets } from "./insights/installation/plain-secrets.ts";
import { startStatus } from "./insights/status/probe.ts";
import { recoverInstalls } from "./models/base/install.ts";
import { startModeration } from "./moderation/checks.ts";
import { startReviewNotices } from "./moderation/review-notices.ts";
import { startNotices } from "./notices/delivery/loop.ts";
import { startForwarding } from "./notices/forwarding/loop.ts";
import { startSecurityNotices } from "./notices/security/listen.ts";
import { startObjects } from "./objects/sweep.ts";
import { startDeployments } from "./serving/deployments/reconcile.ts";
import { askModel } from "./serving/gateway/ask.ts";
import { flushUsage } from "./serving/gateway/usage.ts";
import { endInterruptedResponses } from "./serving/responses/background.ts";
import { startAnswerExpiry } from "./serving/stored/store.ts";
import { startCheckpointNotes } from "./training/jobs/checkpoint-notes.ts";
import { startLostCredits } from "./training/jobs/lost-credits.ts";
import { startPushes } from "./training/pushes/run.ts";
import { startPipeline } from "./training/queue/pipeline.ts";
import { startWandb } from "./training/results/wandb-sync.ts";
import { startSweeps } from "./training/sweeps/run.ts";
import { startTrainers } from "./training/trainer-protocol/service.ts";

/**
 * Starts the background work of all rooms, in room order: pipeline, endpoints, sweeps.
 * @returns the function that stops all of it
 */
export function startBackground(ctx: Ctx): () => Promise<void> {
  for (const { name, path } of plainSecrets(ctx.files.root))
    ctx.log("warn", "a setting has a secret in plain text; Administration, Settings can store it encrypted", {
      setting: name,
      path,
    });
  const stops: (() => void | Promise<void>)[] = [
    startWalWatch(ctx),
    startObjects(ctx),
    () => flushKeyUse(ctx),
    () => flushRefusals(ctx),
    startAuditRetention(ctx),
    startSuspensions(ctx),
    () => flushUsage(ctx),
    startSecurityNotices(ctx),
    startNotices(ctx),
    startCollecting(ctx),
    startForwarding(ctx),
    startBudgets(ctx),
    startDatasets(ctx),
    startScans(ctx),
    startImports(ctx),
    startCheckpointNotes(ctx),
    startLostCredits(ctx),
    startClosing(ctx),
    startLate(ctx),
    startStripe(ctx),
    startInventory(ctx),
    startAccountChecks(ctx),
    startPipeline(ctx),
    startTrainers(ctx),
    startEvaluations(ctx, askModel(ctx, "evaluate")),
    startPushes(ctx),
    startArchives(ctx),
    startSubjects(ctx),
    startSweeps(ctx),
    startWandb(ctx),
    startDeployments(ctx),
    startAnswerExpiry(ctx),
    startModeration(ctx),
    startReviewNotices(ctx),
    startStatus(ctx),
    startErasure(ctx),
  ];
  endInterruptedResponses(ctx);
  recoverInstalls(ctx).catch((cause) => ctx.log("error", "interrupted installs not marked", { cause }));
  return async () => {
    for (const stop of stops.reverse()) await stop();
  };
}
