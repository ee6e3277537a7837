/** One of everything in one organization, as rows: what the access matrix points other people at. */
import { mkdirSync, writeFileSync } from "node:fs";
import { createInvitation } from "../../src/accounts/organizations/invitations.ts";
import { createServiceAccount } from "../../src/accounts/service-accounts/service.ts";
import type { JobSpec } from "../../src/contract/spec.ts";
import { storedAnswer } from "../../src/db/schema/answers.ts";
import { archive, subjectRequest } from "../../src/db/schema/archives.ts";
import { budget } from "../../src/db/schema/billing.ts";
import { dataset, datasetVersion, file, upload } from "../../src/db/schema/datasets.ts";
import { deployment } from "../../src/db/schema/deployments.ts";
import { evaluation } from "../../src/db/schema/evaluations.ts";
import { host } from "../../src/db/schema/hosts.ts";
import { datasetImport } from "../../src/db/schema/imports.ts";
import { job } from "../../src/db/schema/jobs.ts";
import { moderationCase } from "../../src/db/schema/moderation.ts";
import { hubPush } from "../../src/db/schema/pushes.ts";
import { sweep } from "../../src/db/schema/sweeps.ts";
import { sealedIn } from "../../src/db/sealed-columns.ts";
import { newId } from "../../src/lib/ids.ts";
import { seal } from "../../src/lib/sealed.ts";
import { createEndpoint } from "../../src/notices/webhooks/service.ts";
import { startedResponse } from "../../src/serving/responses/view.ts";
import type { TestApp } from "./app.ts";
import { trainSpec } from "./attempt.ts";
import { insertTuned, readyBase } from "./models.ts";

export interface Everything {
  file: string;
  upload: string;
  import: string;
  push: string;
  dataset: string;
  version: string;
  base: string;
  job: string;
  model: string;
  checkpointModel: string;
  checkpoint: string;
  artifact: string;
  evaluation: string;
  export: string;
  deployment: string;
  response: string;
  completion: string;
  sweep: string;
  key: string;
  service: string;
  user: string;
  org: string;
  invitation: string;
  host: string;
  webhook: string;
  archive: string;
  moderationCase: string;
  subject: string;
  budget: string;
}

/** Makes one of everything in organization A. */
export async function makeEverything(app: TestApp): Promise<Everything> {
  const { ctx } = app;
  const org = app.orgs.a;
  const at = { createdBy: app.users.admin, createdAt: ctx.clock.now() };
  const base = "tiny";
  await readyBase(ctx, base);
  const tuned = await insertTuned(ctx, org, { base });
  const checkpoint = tuned.checkpoints[0];
  if (!checkpoint) throw new Error("no checkpoint was made");
  const ids = {
    file: newId("file"),
    upload: newId("upload"),
    import: newId("datasetImport"),
    push: newId("push"),
    archive: newId("archive"),
    subject: newId("subjectRequest"),
    dataset: newId("dataset"),
    version: newId("datasetVersion"),
    evaluation: newId("evaluation"),
    deployment: newId("deployment"),
    response: newId("response"),
    completion: newId("chat"),
    sweep: newId("sweep"),
    budget: newId("budget"),
    export: newId("job"),
    moderationCase: newId("moderationCase"),
  };
  const line = `${JSON.stringify({
    messages: [
      { role: "user", content: "a" },
      { role: "assistant", content: "b" },
    ],
  })}\n`;
  mkdirSync(ctx.files.path("files"), { recursive: true });
  writeFileSync(ctx.files.path("files", ids.file), line);
  writeFileSync(ctx.files.path("archives", ids.archive), "a");
  const hostId = "docker.one";
  await ctx.write(async (tx) => {
    const machine = { provider: "docker", name: "one", cpus: 4, memoryMb: 1000, createdAt: 1, seenAt: at.createdAt };
    await tx.insert(host).values({ id: hostId, ...machine });
    const stored = { org, filename: "a.jsonl", purpose: "fine-tune", bytes: line.length, ...at };
    await tx.insert(file).values({ id: ids.file, ...stored, sha256: "0".repeat(64), status: "processed" });
    await tx.insert(upload).values({
      id: ids.upload,
      ...stored,
      mimeType: "text/jsonl",
      status: "pending",
      expiresAt: at.createdAt + 3_600_000,
    });
    const source = { type: "path", path: "/nowhere" };
    await tx.insert(datasetImport).values({ id: ids.import, org, source, options: {}, status: "waiting", ...at });
    const hub = { hub: "http://127.0.0.1:1", repo: "acme/one", branch: "main", private: true, message: "a" };
    const pushed = { model: tuned.id, artifactId: checkpoint.artifactId, ownToken: false, status: "waiting" as const };
    await tx.insert(hubPush).values({ id: ids.push, org, ...hub, ...pushed, ...at });
    const whole = { scope: "organization" as const, checkpoints: true, status: "done" as const, bytes: 1 };
    await tx.insert(subjectRequest).values({
      id: ids.subject,
      org,
      status: "done",
      terms: seal(ctx.secret, sealedIn("subject", ids.subject), '["Jane Doe"]'),
      match: "any",
      reference: "",
      expiresAt: at.createdAt * 2,
      ...at,
    });
    await tx.insert(archive).values({ id: ids.archive, org, ...whole, expiresAt: at.createdAt * 2, ...at });
    await tx.insert(budget).values({
      id: ids.budget,
      org,
      scope: "team",
      scopeId: org,
      period: "total",
      limitMicros: 1_000_000_000,
      updatedAt: at.createdAt,
      ...at,
    });
    await tx.insert(dataset).values({ id: ids.dataset, org, name: "a", ...at });
    await tx.insert(datasetVersion).values({
      id: ids.version,
      org,
      datasetId: ids.dataset,
      number: 1,
      fileId: ids.file,
      status: "validating",
      splitSeed: 1,
      holdoutFraction: 100_000,
      createdAt: at.createdAt,
    });
    await tx.insert(evaluation).values({
      id: ids.evaluation,
      org,
      name: "a",
      jobId: tuned.jobId,
      trainJobId: tuned.jobId,
      baseModelId: base,
      tunedModel: tuned.id,
      versionId: ids.version,
      ...at,
    });
    const train = trainSpec();
    await tx.insert(job).values({
      id: ids.export,
      org,
      kind: "export",
      name: "a",
      state: "succeeded",
      request: {},
      metadata: {},
      progress: {},
      spec: {
        version: train.version,
        base_model: train.base_model,
        need: train.need,
        limits: train.limits,
        trainer: train.trainer,
        kind: "export",
        dataset: null,
        tuned: { model: tuned.id, checkpoint_id: checkpoint.id, artifact_id: checkpoint.artifactId },
        format: "gguf-f16",
        prompts: 1,
        limits_of_fidelity: { kl_mean: 1, top1_same: 0 },
        precision: "float32",
      } satisfies JobSpec,
      ...at,
    });
    await tx.insert(sweep).values({
      id: ids.sweep,
      org,
      name: "a",
      state: "running",
      createdBy: at.createdBy,
      createdAt: at.createdAt,
      request: {
        name: "a",
        training: { model: base, training_file: ids.file },
        space: { seed: [1] },
        parallel: 1,
        strategy: { type: "grid" },
        metric: "eval/loss",
        direction: "min",
      },
    });
    await tx.insert(storedAnswer).values({
      id: ids.response,
      org,
      userId: at.createdBy,
      kind: "response",
      model: tuned.id,
      metadata: {},
      input: [],
      answer: { ...startedResponse({ model: tuned.id }, { id: ids.response, createdAtS: 1, store: true }) },
      bytes: 2,
      createdAt: at.createdAt,
      expiresAt: at.createdAt + 86_400_000,
    });
    await tx.insert(storedAnswer).values({
      id: ids.completion,
      org,
      userId: at.createdBy,
      kind: "completion",
      model: tuned.id,
      metadata: {},
      input: [{ role: "user", content: "hi" }],
      answer: { object: "chat.completion", created: 1, model: tuned.id, choices: [] },
      bytes: 2,
      createdAt: at.createdAt,
      expiresAt: at.createdAt + 86_400_000,
    });
    await tx.insert(moderationCase).values({
      id: ids.moderationCase,
      org,
      object: "dataset_version",
      subject: ids.version,
      datasetId: ids.dataset,
      name: "a",
      ownerId: at.createdBy,
      source: "check",
      state: "open",
      categories: ["other"],
      findings: [],
      flagged: 1,
      createdAt: at.createdAt,
    });
    await tx.insert(deployment).values({
      id: ids.deployment,
      org,
      name: "a",
      model: tuned.id,
      baseModelId: base,
      wanted: "stopped",
      state: "stopped",
      ...at,
    });
  });
  const { invitation } = await createInvitation(ctx, app.actor("admin"), { email: "x@example.test", role: "member" });
  const hook = { name: "a", url: "https://hook.invalid/", event_types: ["dataset.ready" as const] };
  const { row: endpoint } = await createEndpoint(ctx, app.actor("admin"), { ...hook, format: "openai" });
  return {
    ...ids,
    base,
    job: tuned.jobId,
    model: tuned.id,
    checkpointModel: checkpoint.model,
    checkpoint: checkpoint.id,
    artifact: checkpoint.artifactId,
    key: app.keyIds.member,
    service: (await createServiceAccount(ctx, app.actor("admin"), { name: "Nightly", role: "member" })).id,
    user: app.users.member,
    org,
    invitation: invitation.id,
    host: hostId,
    webhook: endpoint.id,
  };
}
