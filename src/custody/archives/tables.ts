/** What of each table belongs to a user or an organization, and so to their archive. */

/** SQL conditions with `:id`, the user or the organization; null = nothing of this table. */
interface Part {
  user: string | null;
  organization: string | null;
  /** Columns that are left out: secrets, and what others typed. */
  without?: readonly string[];
}

const org = "org = :id";
const madeBy = "created_by = :id";
const user = "user_id = :id";
const ofTeam = "user_id in (select user_id from member where organization_id = :id)";
const DECIDED = "(source = 'check' or decided_at is not null)";
const JOBS = {
  user: "job_id in (select id from job where created_by = :id)",
  organization: "job_id in (select id from job where org = :id)",
};
const below = (column: string, table: string) => ({
  user: `${column} in (select id from ${table} where created_by = :id)`,
  organization: `${column} in (select id from ${table} where org = :id)`,
});
const series = (owner: string) =>
  `series_id in (select s.id from series s join job j on j.id = s.job_id where j.${owner} = :id)`;
const created: Part = { user: madeBy, organization: org };
const personal: Part = { user, organization: null };

/** The parts by table. The names are those of the files in the archive. */
export const PARTS: Readonly<Record<string, Part>> = {
  user: {
    user: "id = :id",
    organization: "id in (select user_id from member where organization_id = :id)",
  },
  session: { ...personal, without: ["token"] },
  account: { ...personal, without: ["password", "access_token", "refresh_token", "id_token"] },
  two_factor: { ...personal, without: ["secret", "backup_codes"] },
  passkey: personal,
  scim_user: personal,
  scim_member: personal,
  hold: {
    user: "subject = 'user' and subject_id = :id",
    organization: "subject = 'organization' and subject_id = :id",
  },
  organization: {
    user: "id in (select organization_id from member where user_id = :id)",
    organization: "id = :id",
  },
  organization_limit: { user: null, organization: org },
  team_limit: { user: null, organization: org },
  team_share: { user: null, organization: org },
  beta_switch: { user: null, organization: org },
  member: { user, organization: "organization_id = :id" },
  invitation: { user: "inviter_id = :id", organization: "organization_id = :id", without: ["token_hash"] },
  api_key: { user, organization: org, without: ["hash", "previous_hash"] },
  sso_group: { user: null, organization: org },
  meter_interval: { user, organization: org },
  ledger_entry: { user: null, organization: org },
  price_list: { user: null, organization: "org = :id or org is null" },
  job_price: { user: null, organization: org },
  allowance_use: { user: null, organization: org },
  budget: { user: null, organization: org },
  budget_use: below("budget_id", "budget"),
  statement: { user: null, organization: org },
  statement_line: { user: null, organization: "statement_id in (select id from statement where org = :id)" },
  credit: { user: null, organization: org },
  credit_use: { user: null, organization: org },
  late_charge: { user: null, organization: org },
  billing_account: { user: null, organization: org },
  meter_event: { user: null, organization: org },
  inference: { user, organization: org },
  file: created,
  upload: created,
  dataset: created,
  dataset_version: below("dataset_id", "dataset"),
  pii_scan: below("dataset_id", "dataset"),
  privacy_policy: { user: null, organization: org },
  dataset_tokens: {
    user: "version_id in (select v.id from dataset_version v join dataset d on d.id = v.dataset_id where d.created_by = :id)",
    organization: "version_id in (select id from dataset_version where org = :id)",
  },
  dataset_import: { ...created, without: ["secret"] },
  job: { ...created, without: ["lease_token"] },
  attempt: { ...JOBS, without: ["token_hash", "bootstrap_hash", "bootstrap_nonce_hash"] },
  command: JOBS,
  event: JOBS,
  log_line: JOBS,
  series: JOBS,
  point: { user: series("created_by"), organization: series("org") },
  sweep: created,
  trial: below("sweep_id", "sweep"),
  evaluation: created,
  answer: {
    user: "job_id in (select job_id from evaluation where created_by = :id)",
    organization: "job_id in (select job_id from evaluation where org = :id)",
  },
  artifact: JOBS,
  checkpoint: JOBS,
  checkpoint_permission: {
    user: madeBy,
    organization: "checkpoint_id in (select id from checkpoint where org = :id)",
  },
  model: created,
  license_acceptance: { user, organization: org },
  hub_push: { ...created, without: ["secret"] },
  wandb_server: { user: null, organization: org, without: ["key"] },
  wandb_run: JOBS,
  deployment: created,
  stored_answer: { user, organization: org },
  webhook_endpoint: { ...created, without: ["url", "secret", "old_secret"] },
  notice_preference: personal,
  notice: personal,
  notice_event: { user, organization: org, without: ["also_to"] },
  notice_delivery: { user: null, organization: org, without: ["payload", "destination"] },
  terms_acceptance: { user, organization: ofTeam },
  // Reports are shown to nobody but reviewers, before a decision and after it.
  moderation_case: { user: `owner_id = :id and ${DECIDED}`, organization: `${org} and ${DECIDED}` },
  moderation_entry: {
    user: "user_id = :id and kind in ('report', 'appeal')",
    organization: "kind = 'appeal' and case_id in (select id from moderation_case where org = :id)",
  },
  moderation_check: { user, organization: org },
  restriction: { user: null, organization: org },
  audit_log: { user: "actor = :id", organization: org },
  subject_request: { user: null, organization: org, without: ["terms"] },
  archive: { user: "created_by = :id and scope = 'user'", organization: org },
};

/** Tables without a part, and why. */
export const LEFT_OUT: Readonly<Record<string, string>> = {
  verification: "one-time codes",
  budget_hold: "what running work may still cost",
  meter_cursor: "positions of the installation",
  usage_day: "sums of meter_interval",
  stripe_event: "what the payment provider reported about the installation",
  failed_attempt: "counters by hashed key",
  used_code: "one-time codes",
  upload_part: "pieces of unfinished uploads",
  stored_object: "where files are: hashes and names of objects",
  object_deletion: "objects that are being removed",
  batch: "how metrics arrived, not the metrics",
  point_bucket: "summaries of points",
  installation: "of the installation",
  host: "of the installation",
  gpu: "of the installation",
  gpu_allocation: "of the installation",
  host_sample: "of the installation",
  provider_limit: "of the installation",
  provider_pause: "of the installation",
  provider_error: "of the installation",
  rented_machine: "of the installation",
  provider_orphan: "of the installation",
  base_model: "of the installation",
  sso_provider: "of the installation",
  sso_domain: "of the installation",
  terms_version: "of the installation",
  moderation_rule: "of the installation",
  scim_connection: "of the installation",
  scim_group: "of the installation",
  sso_used: "which answers of a provider were used",
  status_component: "of the installation",
  audit_forward: "of the installation",
  status_day: "of the installation",
  status_incident: "of the installation",
  status_update: "of the installation",
  announcement: "of the installation",
  maintenance_window: "of the installation",
  secret_setting: "secrets of the installation",
  banner_dismissal: "which banners were closed",
};

/** Columns that hold JSON, in any table. */
export const JSON_COLUMNS: ReadonlySet<string> = new Set(
  (
    "allowed_addresses allowed_models answer architecture burst categories components counts data decisions detail " +
    "erased erasure error event_types files findings grader handle input machine_types mapping metadata metrics offer options " +
    "orgs prices progress prompt reading regions report request result roles rungs scopes settings source spec stats summary tags " +
    "transports values window"
  ).split(" "),
);
