/**
 * What the access matrix asks routes with: parameters, bodies and queries that name things of organization A wherever
 * something can be named.
 */
import type { Everything } from "./everything.ts";

/** What stands for the parameters of a path, by the longest start that fits: things of organization A. */
export const PARAMS: Record<string, (e: Everything) => Record<string, string>> = {
  "/assets/": () => ({ "*": "app.css" }),
  "/v1/keys/": (e) => ({ id: e.key }),
  "/keys/": (e) => ({ id: e.key }),
  "/settings/keys/": (e) => ({ id: e.key }),
  "/v1/admin/users/": (e) => ({ id: e.user }),
  "/admin/users/": (e) => ({ id: e.user }),
  "/v1/sessions/": () => ({ id: "none" }),
  "/settings/sessions/": () => ({ id: "none" }),
  "/v1/admin/invitations/": () => ({ id: "none" }),
  "/admin/invitations/": () => ({ id: "none" }),
  "/v1/admin/orgs/": () => ({ id: "none" }),
  "/v1/admin/providers/": () => ({ id: "none" }),
  "/admin/providers/": () => ({ id: "none" }),
  "/v1/admin/backups/": () => ({ id: "none" }),
  "/admin/backups/": () => ({ id: "none" }),
  "/v1/webhook_endpoints/": (e) => ({ id: e.webhook, delivery: "none" }),
  "/settings/webhooks/": (e) => ({ id: e.webhook, delivery: "none" }),
  "/v1/admin/deliveries/": () => ({ id: "none" }),
  "/admin/deliveries/": () => ({ id: "none" }),
  "/v1/files/": (e) => ({ id: e.file }),
  "/files/": (e) => ({ id: e.file }),
  "/v1/uploads/": (e) => ({ id: e.upload }),
  "/v1/datasets/": (e) => ({ id: e.dataset, version: e.version, versionId: e.version, number: "1", line: "1" }),
  "/datasets/": (e) => ({ id: e.dataset, version: e.version, versionId: e.version, number: "1", line: "1" }),
  "/v1/datasets/imports/": (e) => ({ id: e.import }),
  "/datasets/imports/": (e) => ({ id: e.import }),
  "/v1/dataset_versions/": (e) => ({ id: e.version }),
  "/v1/exports/": (e) => ({ id: e.export }),
  "/v1/hosts/": (e) => ({ id: e.host }),
  "/hosts/": (e) => ({ id: e.host }),
  "/v1/gpus/": () => ({ uuid: "GPU-x" }),
  "/v1/base_models/": (e) => ({ id: e.base }),
  "/base_models/": (e) => ({ id: e.base }),
  "/v1/models/": (e) => ({ id: e.model }),
  "/models/": (e) => ({ id: e.model, export: e.export }),
  "/v1/artifacts/": (e) => ({ id: e.artifact, "*": "trainer_state.json" }),
  "/v1/jobs/": (e) => ({ id: e.job, act: "cancel" }),
  "/jobs/": (e) => ({ id: e.job, act: "cancel" }),
  "/v1/queue/": (e) => ({ id: e.job }),
  "/queue/": (e) => ({ id: e.job }),
  "/v1/admin/teams/": () => ({ id: "none" }),
  "/admin/teams/": () => ({ id: "none" }),
  "/v1/fine_tuning/jobs/": (e) => ({ id: e.job }),
  "/v1/fine_tuning/checkpoints/": (e) => ({ id: e.checkpointModel, permission: "perm_x" }),
  "/v1/sweeps/": (e) => ({ id: e.sweep }),
  "/sweeps/": (e) => ({ id: e.sweep }),
  "/v1/evaluations/": (e) => ({ id: e.evaluation }),
  "/evaluations/": (e) => ({ id: e.evaluation }),
  "/v1/chat/completions/": (e) => ({ id: e.completion }),
  "/v1/responses/": (e) => ({ id: e.response }),
  "/v1/deployments/": (e) => ({ id: e.deployment }),
  "/deployments/": (e) => ({ id: e.deployment }),
};

/** A sweep of a training on the base and file of organization A. */
const sweepBody = (e: Everything) => ({ training: { model: e.base, training_file: e.file }, space: { seed: [1] } });

/** A grader that asks the model of organization A. */
const judge = (model: string) => ({
  type: "score_model",
  name: "judge",
  model,
  input: [{ role: "user", content: "How good is {{sample.output_text}}?" }],
});

function rowsForm(): FormData {
  const form = new FormData();
  form.set("file", new File(['{"prompt": "a", "completion": "b"}'], "rows.jsonl"));
  return form;
}

/** Bodies for routes that need one: naming things of organization A wherever something can be named. */
export const BODIES: Record<string, (e: Everything) => unknown> = {
  "POST /v1/keys": () => ({ name: "matrix" }),
  "POST /v1/reauthenticate": () => ({ password: "not the password" }),
  "POST /v1/two_factor": () => ({ password: "not the password" }),
  "POST /v1/two_factor/confirm": () => ({ code: "000000" }),
  "POST /v1/two_factor/recovery_codes": () => ({ password: "not the password" }),
  "POST /v1/two_factor/disable": () => ({ password: "not the password" }),
  "POST /v1/admin/users": () => ({ email: "matrix@example.test" }),
  "POST /v1/admin/orgs": () => ({ name: "matrix" }),
  "POST /v1/admin/orgs/:id": () => ({ name: "matrix" }),
  "POST /v1/admin/mail": () => ({ host: "mail.invalid", port: 25, security: "none", from: "a@example.test" }),
  "POST /v1/webhook_endpoints": () => ({ name: "a", url: "https://hook.invalid/", event_types: ["dataset.ready"] }),
  "POST /v1/webhook_endpoints/:id": () => ({ name: "matrix" }),
  "POST /v1/webhook_endpoints/:id/test": () => ({ event_type: "dataset.ready" }),
  "POST /admin/mail": () => ({ host: "mail.invalid", port: "25", security: "none", from: "a@example.test" }),
  "POST /admin/mail/test": () => ({ to: "a@example.test" }),
  "POST /settings/email": () => ({ email: "matrix@example.test", password: "matrix" }),
  "POST /settings/webhooks": () => ({ name: "a", url: "https://hook.invalid/", events: "dataset.ready" }),
  "POST /settings/webhooks/:id": () => ({ name: "matrix", events: "dataset.ready" }),
  "POST /settings/webhooks/:id/test": () => ({ event: "dataset.ready" }),
  "POST /v1/datasets": (e) => ({ file_id: e.file }),
  "POST /datasets/:id/upload": rowsForm,
  "PUT /datasets/:id/upload": rowsForm,
  "POST /datasets/:id/merge": (e) => ({ dataset: e.dataset }),
  "POST /datasets/:id/rename": () => ({ name: "matrix" }),
  "POST /datasets/imports": () => ({ type: "path", path: "/nowhere" }),
  "POST /v1/datasets/import": () => ({ source: { type: "path", path: "/nowhere" } }),
  "POST /v1/datasets/:id/rows": () => ({
    messages: [
      { role: "user", content: "a" },
      { role: "assistant", content: "b" },
    ],
  }),
  "POST /v1/datasets/:id/rows/:line": () => ({ text: '{"prompt": "hi", "completion": "there"}' }),
  "POST /v1/datasets/:id/merge": (e) => ({ dataset: e.dataset }),
  "POST /v1/datasets/:id/versions": (e) => ({ file_id: e.file }),
  "POST /v1/fine_tuning/checkpoints/:id/permissions": () => ({ project_ids: ["org-none"] }),
  "POST /v1/datasets/:id/mapping/preview": () => ({ mapping: { prompt: "prompt", completion: "completion" } }),
  "POST /v1/fine_tuning/jobs": (e) => ({ model: e.base, training_file: e.file }),
  "POST /v1/fine_tuning/alpha/graders/run": (e) => ({ grader: judge(e.model), model_sample: "hi" }),
  "POST /v1/fine_tuning/alpha/graders/validate": (e) => ({ grader: judge(e.model) }),
  "POST /v1/jobs": (e) => ({ model: e.base, training_file: e.file }),
  "PATCH /v1/jobs/:id": () => ({ note: "matrix" }),
  "POST /jobs/bulk": (e) => ({ ids: e.job, act: "archive" }),
  "POST /jobs/:id/edit": () => ({ name: "matrix", tags: "", note: "" }),
  "POST /v1/jobs/plan": (e) => ({ model: e.base, training_file: e.file }),
  "POST /v1/jobs/metrics": (e) => ({ jobs: [e.job], keys: ["train/loss"] }),
  "POST /v1/evaluations": (e) => ({ job: e.job }),
  "POST /v1/sweeps": sweepBody,
  "POST /v1/sweeps/plan": sweepBody,
  "POST /sweeps": (e) => ({ training: JSON.stringify(sweepBody(e).training), field_0: "seed", values_0: "1" }),
  "POST /sweeps/plan": (e) => ({ training: JSON.stringify(sweepBody(e).training), field_0: "seed", values_0: "1" }),
  "POST /v1/models/:id/exports": () => ({ format: "safetensors" }),
  "POST /models/:id/exports": () => ({ format: "safetensors" }),
  "POST /v1/deployments": (e) => ({ model: e.model }),
  "POST /v1/chat/completions": (e) => ({ model: e.model, messages: [{ role: "user", content: "hi" }] }),
  "POST /v1/chat/completions/:id": () => ({ metadata: { a: "b" } }),
  "POST /v1/completions": (e) => ({ model: e.model, prompt: "hi" }),
  "POST /v1/embeddings": (e) => ({ model: e.model, input: "hi" }),
  "POST /v1/moderations": () => ({ input: "hi" }),
  "POST /v1/responses": (e) => ({ model: e.model, input: "hi" }),
  "POST /v1/responses/input_tokens": (e) => ({ model: e.model, input: "hi" }),
  "POST /v1/responses/compact": (e) => ({ model: e.model, input: "hi" }),
  "POST /v1/uploads": () => ({ filename: "a.jsonl", purpose: "fine-tune", bytes: 10, mime_type: "text/jsonl" }),
  "POST /v1/uploads/:id/complete": () => ({ part_ids: ["part_x"] }),
  "POST /v1/uploads/:id/parts": () => {
    const form = new FormData();
    form.set("data", new Blob(["{}"]), "part");
    return form;
  },
  "POST /v1/hosts/:id": () => ({ state: "cordoned" }),
  "POST /v1/gpus/:uuid": () => ({ shares: 2 }),
  "POST /v1/queue/:id": () => ({ priority: -1 }),
  "POST /queue/:id": () => ({ priority: "-1" }),
  "POST /v1/admin/orgs/:id/wandb": () => ({ wandb_url: "http://127.0.0.1:9", wandb_key: "local-x" }),
  "POST /admin/teams/:id/wandb": () => ({ wandb_url: "http://127.0.0.1:9", wandb_key: "local-x" }),
  "POST /v1/admin/teams/:id": () => ({ weight: 2 }),
  "POST /admin/teams/:id": () => ({ weight: "2" }),
  "POST /theme": () => ({ theme: "dark" }),
  "POST /hosts/:id/name": () => ({ name: "matrix" }),
  "POST /hosts/:id/state": () => ({ state: "cordoned" }),
  "POST /hosts/:id/shares": () => ({ gpu: "GPU-x", shares: "2" }),
  "POST /v1/base_models/import": () => ({ source: "local", directory: "/nowhere" }),
  "POST /evaluations": (e) => ({ model: e.model }),
  "POST /jobs": (e) => ({ data: e.version, model: e.base }),
  "POST /jobs/plan": (e) => ({ data: e.version, model: e.base }),
  "POST /jobs/sweep": (e) => ({ data: e.version, model: e.base }),
  "POST /admin/invite": () => ({ email: "matrix@example.test", role: "member" }),
  "POST /admin/users/:id": () => ({ disabled: "false" }),
  "POST /models/:id/delete": (e) => ({ confirm: e.model }),
  "POST /deployments": (e) => ({ model: e.model }),
  "POST /deployments/:id": () => ({ idle_minutes: "5" }),
};
/** Queries of routes that cannot be asked without one. */
export const QUERIES: Record<string, (e: Everything) => Record<string, string>> = {
  "GET /v1/datasets/:id/tokens": (e) => ({ base_model: e.base }),
};
