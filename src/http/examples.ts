/** Examples of the API reference: each route as a curl command and as Python with OpenAI's client. */
import type { Operation } from "./openapi.ts";

const MODEL = "ft:smollm2-135m-instruct:acme::4f0k";
const BASE = "smollm2-135m-instruct";
const MESSAGES = [{ role: "user", content: "My card was declined." }];
const GRADER = {
  type: "string_check",
  name: "exact",
  input: "{{sample.output_text}}",
  reference: "card_declined",
  operation: "eq",
};
const TRAINING = { model: BASE, training_file: "file-abc" };

/** A small valid body for every route that takes JSON. */
export const BODIES: Record<string, unknown> = {
  "POST /v1/keys": {
    name: "CI pipeline",
    expires_in_days: 90,
    scopes: ["train", "infer"],
    allowed_addresses: ["203.0.113.0/24"],
    tokens_per_minute: 100_000,
  },
  "POST /v1/keys/{id}": { allowed_models: ["support bot"], requests_per_minute: 60 },
  "POST /v1/keys/{id}/rotate": { overlap_seconds: 3600 },
  "POST /v1/admin/orgs/{id}/billing": { collection: "send", tax_exempt: true },
  "POST /v1/reauthenticate": { password: "a phrase that only you know" },
  "POST /v1/two_factor": { password: "a phrase that only you know" },
  "POST /v1/two_factor/confirm": { code: "123456" },
  "POST /v1/two_factor/recovery_codes": { password: "a phrase that only you know" },
  "POST /v1/two_factor/disable": { password: "a phrase that only you know" },
  "POST /v1/admin/providers/{id}/stop": { reason: "The invoice of this month is under review" },
  "POST /v1/admin/providers/{id}/limits": { regions: ["us-east-1"], max_price_per_hour: 4, month_usd: 500 },
  "PUT /v1/admin/providers/{id}/settings": { enabled: true, settings: { api_key: "rpa_…", regions: "EU-RO-1, FR" } },
  "POST /v1/admin/settings/secrets": { name: "hub_token", value: "hf_…" },
  "POST /v1/passkeys/{id}": { name: "Laptop" },
  "POST /v1/terms/acceptance": { versions: ["terms_abc"], adult: true },
  "POST /v1/admin/announcements": {
    title: "New base models this week",
    text: "Read [what is new](https://example.com/news).",
    severity: "info",
    ends_at: 1_798_761_600,
  },
  "POST /v1/admin/announcements/{id}": { severity: "critical", ends_at: null },
  "POST /v1/admin/beta/{id}": { enabled: true, organization: "org-abc" },
  "POST /v1/admin/maintenance": {
    starts_at: 1_798_747_200,
    ends_at: 1_798_754_400,
    reason: "New GPUs in both machines",
    endpoints: "stay",
  },
  "POST /v1/admin/maintenance/{id}": { ends_at: 1_798_758_000 },
  "POST /v1/admin/price_lists": {
    items: [
      { meter: "gpu_seconds", price_usd: 1.2 },
      { meter: "gpu_seconds", gpu_model: "NVIDIA H100 80GB HBM3", price_usd: 2.5 },
      { meter: "gpu_seconds", provider: "runpod", cost_plus_percent: 15 },
      { meter: "byte_hours", price_usd: 0.05 },
    ],
    free: [{ meter: "byte_hours", amount: 100 }],
    note: "Storage has a price.",
    effective_date: "2027-03-01",
  },
  "POST /v1/admin/price_lists/changes": { items: [{ meter: "cpu_seconds", price_usd: 0.04 }] },
  "POST /v1/admin/terms": {
    document: "terms",
    text: "# Terms of service\n\nYou may use this installation for …",
    summary: "Section 3 names the new processor.",
    effective_at: 1_798_761_600,
  },
  "POST /v1/admin/audit/forwarding/syslog": {
    host: "logs.example.com",
    port: 6514,
    transport: "tls",
    facility: "audit",
    from: "beginning",
  },
  "POST /v1/admin/audit/forwarding/webhook": { url: "https://siem.example.com/audit" },
  "POST /v1/admin/incidents": {
    title: "Training jobs start late",
    text: "One host is unreachable. We write again at 14:00 UTC.",
    impact: "minor",
    components: ["training"],
    notify: true,
  },
  "POST /v1/admin/incidents/{id}/updates": { status: "resolved", text: "The host is back. Waiting jobs have started." },
  "POST /v1/admin/status_components/{id}": { name: "GPU cluster Munich" },
  "POST /v1/admin/users": { email: "grace@example.com", role: "member" },
  "POST /v1/admin/users/{id}": { role: "admin" },
  "POST /v1/admin/users/{id}/suspend": {
    reason: "Requests that break the acceptable use policy",
    until: 1_798_761_600,
  },
  "POST /v1/admin/orgs/{id}/suspend": { reason: "The invoice of October is not paid" },
  "POST /v1/account/deletion": { confirm: "grace@example.com" },
  "POST /v1/organization/deletion": { confirm: "Support" },
  "POST /v1/admin/users/{id}/deletion": { reason: "The person asked for it" },
  "POST /v1/admin/orgs/{id}/deletion": { reason: "The contract ended" },
  "POST /v1/service_accounts": { name: "Nightly evaluation", role: "member" },
  "POST /v1/service_accounts/{id}": { role: "viewer" },
  "POST /v1/service_accounts/{id}/keys": { name: "cron", scopes: ["train", "infer"], expires_in_days: 365 },
  "POST /v1/organization": { name: "Support" },
  "POST /v1/organization/members": { email: "grace@example.com", role: "viewer" },
  "POST /v1/organization/members/{id}": { role: "admin" },
  "POST /v1/organization/privacy": { pii_policy: "require_decision" },
  "POST /v1/subject_requests": { terms: ["Jane Doe", "jane.doe@example.com"], match: "any", reference: "DSR-117" },
  "POST /v1/subject_requests/{id}/erase": { old_versions: true, stored: true },
  "POST /v1/budgets": { scope: "team", period: "month", limit_usd: 500 },
  "PATCH /v1/budgets/{id}": { limit_usd: 800 },
  "POST /v1/organization/burst": { burst: { type: "burst", wait_over_s: 1800, cost_under_usd: 20 } },
  "POST /v1/organization/limits": { bytes: 50_000_000_000 },
  "POST /v1/admin/sso": {
    name: "Okta",
    issuer: "https://example.okta.com",
    client_id: "0oa1abc",
    client_secret: "…",
    domains: ["example.com"],
    groups: [{ group: "ML engineers", organization: "org-abc", organization_role: "member" }],
  },
  "POST /v1/admin/sso/{id}": { enforced: true },
  "POST /v1/admin/orgs": { name: "Support" },
  "POST /v1/admin/orgs/{id}": { name: "Support", require_two_factor: true },
  "POST /v1/admin/orgs/{id}/limits": { bytes: 100_000_000_000, waiting_jobs: 50 },
  "POST /v1/admin/orgs/{id}/wandb": { wandb_url: "https://wandb.example.com", wandb_key: "local-abc" },
  "POST /v1/admin/teams/{id}": { weight: 2, max_gpus: 4 },
  "POST /v1/hosts/{id}": { state: "draining", note: "Driver update" },
  "POST /v1/gpus/{uuid}": { shares: 2 },
  "POST /v1/webhook_endpoints": {
    name: "CI pipeline",
    url: "https://example.com/hook",
    event_types: ["fine_tuning.job.succeeded", "fine_tuning.job.failed"],
  },
  "POST /v1/webhook_endpoints/{id}": { event_types: ["fine_tuning.job.failed"] },
  "POST /v1/webhook_endpoints/{id}/rotate_secret": { keep_old_secret_active_for_24_hours: true },
  "POST /v1/webhook_endpoints/{id}/test": { event_type: "fine_tuning.job.succeeded" },
  "POST /v1/notices/read": { ids: ["ntc_abc"] },
  "POST /v1/notices/preferences": { datasets: { mail: true } },
  "POST /v1/admin/mail": {
    host: "mail.example.com",
    port: 587,
    security: "starttls",
    user: "lab@example.com",
    password: "…",
    from: "Fine-Tune Lab <lab@example.com>",
  },
  "POST /v1/admin/mail/test": { to: "grace@example.com" },
  "POST /v1/uploads": { filename: "train.jsonl", purpose: "fine-tune", bytes: 1_048_576, mime_type: "text/jsonl" },
  "POST /v1/uploads/{id}/complete": { part_ids: ["part_abc", "part_def"] },
  "POST /v1/datasets": { file_id: "file-abc", name: "support-tickets" },
  "POST /v1/datasets/import": { source: { type: "url", url: "https://example.com/train.jsonl" } },
  "POST /v1/datasets/imports/{id}/retry": {},
  "POST /v1/datasets/{id}": { name: "support-tickets" },
  "POST /v1/datasets/{id}/versions": { file_id: "file-abc" },
  "POST /v1/datasets/{id}/mapping/preview": { mapping: { prompt: "question", completion: "answer" } },
  "POST /v1/datasets/{id}/rows": { messages: [...MESSAGES, { role: "assistant", content: "Let me check." }] },
  "POST /v1/datasets/{id}/rows/{line}": { text: JSON.stringify({ messages: MESSAGES }) },
  "POST /v1/datasets/{id}/pii": { decision: "mask", kinds: ["email", "phone"] },
  "POST /v1/datasets/{id}/pii/scan": {},
  "POST /v1/datasets/{id}/merge": { dataset: "ds_def" },
  "POST /v1/archives": { scope: "user", checkpoints: false },
  "POST /v1/models/{id}": { stays_local: false, reason: "The customer agreed" },
  "POST /v1/models/{id}/pushes": { repository: "acme/support-model", token: "hf_abc" },
  "POST /v1/base_models/import": { source: "hub", repo: "HuggingFaceTB/SmolLM2-135M-Instruct" },
  "POST /v1/fine_tuning/checkpoints/{id}/permissions": { project_ids: ["org-abc"] },
  "POST /v1/fine_tuning/alpha/graders/run": { grader: GRADER, model_sample: "card_declined" },
  "POST /v1/fine_tuning/alpha/graders/validate": { grader: GRADER },
  "POST /v1/jobs/metrics": { jobs: ["ftjob-abc"], keys: ["train/loss"] },
  "POST /v1/fine_tuning/jobs": TRAINING,
  "POST /v1/jobs": TRAINING,
  "POST /v1/jobs/plan": TRAINING,
  "POST /v1/jobs/{id}/rerun": {},
  "PATCH /v1/jobs/{id}": { name: "support-tickets", tags: ["bank"] },
  "POST /v1/queue/{id}": { priority: 1 },
  "POST /v1/evaluations": { job: "ftjob-abc" },
  "POST /v1/evaluations/plan": { job: "ftjob-abc" },
  "POST /v1/models/{id}/exports": { format: "safetensors" },
  "POST /v1/sweeps": { training: TRAINING, space: { learning_rate: [0.0001, 0.0003] } },
  "POST /v1/sweeps/plan": { training: TRAINING, space: { learning_rate: [0.0001, 0.0003] } },
  "POST /v1/deployments": { model: MODEL },
  "POST /v1/deployments/plan": { model: MODEL },
  "POST /v1/deployments/{id}": { idle_after_s: 900 },
  "POST /v1/chat/completions": { model: MODEL, messages: MESSAGES },
  "POST /v1/chat/completions/{id}": { metadata: { ticket: "4711" } },
  "POST /v1/completions": { model: MODEL, prompt: "Once upon a time" },
  "POST /v1/embeddings": { model: BASE, input: "My card was declined." },
  "POST /v1/responses": { model: MODEL, input: "My card was declined." },
  "POST /v1/responses/input_tokens": { model: MODEL, input: "My card was declined." },
  "POST /v1/responses/compact": { model: MODEL, previous_response_id: "resp_abc" },
  "POST /v1/admin/orgs/{id}/more_time": { until: 1798761600, reason: "The bank transfer is on its way" },
  "POST /v1/admin/billing/credits": { organization: "org-abc", amount_usd: 25, reason: "outage", note: "GPU outage" },
  "POST /v1/admin/billing/statements/{id}/refunds": { amount_usd: 12.5, reason: "billing_error" },
  "PATCH /v1/billing/settings": { mode: "chargeback", grace_hours: 72 },
  "POST /v1/moderation/settings": { enabled: true },
  "POST /v1/moderation/rules": {
    name: "Code names",
    category: "other",
    pattern: "(?i)\\bproject[- ]falcon\\b",
    action: "hold",
  },
  "POST /v1/moderation/rules/{id}": { enabled: false },
  "POST /v1/moderation/cases/{id}/decide": { decision: "restrict", reason: "It names a project that is not public." },
  "POST /v1/moderation/decisions/{id}/appeal": { text: "The project was announced last week." },
  "POST /v1/moderation/reports": { type: "model", id: MODEL, category: "hate", text: "It insults people." },
  "POST /v1/moderations": { input: "My card was declined." },
};

/** Routes that take a file: the form fields beside it. */
const UPLOADS: Record<string, { field: string; form: Record<string, string> }> = {
  "POST /v1/files": { field: "file", form: { purpose: "fine-tune" } },
  "POST /v1/uploads/{id}/parts": { field: "data", form: {} },
};

/** Calls that OpenAI's client has a method for; `{body}` stands for the fields as arguments. */
const METHODS: Record<string, string> = {
  "GET /v1/files": "client.files.list()",
  "POST /v1/files": 'client.files.create(file=open("train.jsonl", "rb"), purpose="fine-tune")',
  "GET /v1/files/{id}": 'client.files.retrieve("file-abc")',
  "GET /v1/files/{id}/content": 'client.files.content("file-abc").read()',
  "DELETE /v1/files/{id}": 'client.files.delete("file-abc")',
  "GET /v1/models": "client.models.list()",
  "POST /v1/fine_tuning/jobs": "client.fine_tuning.jobs.create({body})",
  "GET /v1/fine_tuning/jobs": "client.fine_tuning.jobs.list()",
  "GET /v1/fine_tuning/jobs/{id}": 'client.fine_tuning.jobs.retrieve("ftjob-abc")',
  "POST /v1/fine_tuning/jobs/{id}/cancel": 'client.fine_tuning.jobs.cancel("ftjob-abc")',
  "GET /v1/fine_tuning/jobs/{id}/events": 'client.fine_tuning.jobs.list_events("ftjob-abc")',
  "POST /v1/chat/completions": "client.chat.completions.create({body})",
  "POST /v1/completions": "client.completions.create({body})",
  "POST /v1/embeddings": "client.embeddings.create({body})",
  "POST /v1/responses": "client.responses.create({body})",
  "POST /v1/moderations": "client.moderations.create({body})",
};

const IDS: [RegExp, string][] = [
  [/\/subject_requests\//, "subj_abc"],
  [/\/(fine_tuning\/)?jobs\//, "ftjob-abc"],
  [/\/queue\//, "ftjob-abc"],
  [/\/files\//, "file-abc"],
  [/\/uploads\//, "upload_abc"],
  [/\/dataset_versions\//, "dsv_abc"],
  [/\/datasets\//, "ds_abc"],
  [/\/base_models\//, BASE],
  [/\/models\//, MODEL],
  [/\/deployments\//, "dep_abc"],
  [/\/evaluations\//, "eval_abc"],
  [/\/sweeps\//, "sweep_abc"],
  [/\/hosts\//, "docker.gpu1"],
  [/\/(users|service_accounts)\//, "user-abc"],
  [/\/(orgs|teams)\//, "org-abc"],
  [/\/keys\//, "key-abc"],
  [/\/passkeys\//, "passkey_abc"],
  [/\/sso\//, "sso_abc"],
];

const pathOf = (path: string) => {
  const id = IDS.find(([pattern]) => pattern.test(path))?.[1] ?? "abc";
  return path.replace("{id}", id).replace(/\{(\w+)\}/g, (_, name: string) => name);
};

/** A value as Python writes it. */
function python(value: unknown): string {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  return `{${Object.entries(value)
    .map(([name, each]) => `${JSON.stringify(name)}: ${python(each)}`)
    .join(", ")}}`;
}

const asArguments = (body: unknown) =>
  Object.entries(body as Record<string, unknown>)
    .map(([name, value]) => `${name}=${python(value)}`)
    .join(", ");

type Call = Pick<Operation, "method" | "path">;
const keyOf = ({ method, path }: Call) => `${method} ${path}`;

/** The route as a curl command; the key is in `OPENAI_API_KEY`. */
export function curlOf(call: Call, origin: string): string {
  const upload = UPLOADS[keyOf(call)];
  const body = BODIES[keyOf(call)];
  const lines = [
    `curl ${call.method === "GET" || body || upload ? "" : `-X ${call.method} `}${origin}${pathOf(call.path)}`,
    '-H "Authorization: Bearer $OPENAI_API_KEY"',
    ...(body ? ['-H "Content-Type: application/json"', `-d '${JSON.stringify(body).replaceAll("'", "'\\''")}'`] : []),
    ...Object.entries(upload?.form ?? {}).map(([name, value]) => `-F ${name}=${value}`),
    ...(upload ? [`-F ${upload.field}=@train.jsonl`] : []),
  ];
  return lines.join(" \\\n  ");
}

/** The route in Python; address and key are in `OPENAI_BASE_URL` and `OPENAI_API_KEY`. */
export function pythonOf(call: Call): string {
  const body = BODIES[keyOf(call)];
  const known = METHODS[keyOf(call)];
  const path = pathOf(call.path).replace(/^\/v1/, "");
  const verb = call.method.toLowerCase();
  const given = body && Object.keys(body).length > 0 ? `, body=${python(body)}` : "";
  const line = known
    ? known.replace("{body}", () => asArguments(body))
    : `client.${verb}("${path}"${given}, cast_to=object)`;
  return `from openai import OpenAI\n\nclient = OpenAI()\nprint(${line})`;
}
