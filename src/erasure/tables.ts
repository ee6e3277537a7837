/**
 * What happens to every table when an organization or an account is erased. test/architecture.test.ts compares it with
 * the schema, so that nobody adds a table without this decision.
 */
import { type SQL, sql } from "drizzle-orm";

/** The rows of an organization, in an order in which foreign keys allow to delete them. */
export const OF_ORGANIZATION: Record<string, (org: string) => SQL> = {
  point: (org) => sql`series_id in (select id from series where job_id in (select id from job where org = ${org}))`,
  point_bucket: (org) =>
    sql`series_id in (select id from series where job_id in (select id from job where org = ${org}))`,
  series: ofJobs,
  log_line: ofJobs,
  event: ofJobs,
  batch: ofJobs,
  answer: ofJobs,
  command: ofJobs,
  gpu_allocation: ofJobs,
  wandb_run: ofOrg,
  hub_push: ofOrg,
  checkpoint_permission: (org) =>
    sql`(org = ${org} or checkpoint_id in (select id from checkpoint where org = ${org}))`,
  evaluation: ofOrg,
  deployment: ofOrg,
  model: ofOrg,
  checkpoint: ofOrg,
  artifact: ofOrg,
  trial: (org) => sql`sweep_id in (select id from sweep where org = ${org})`,
  sweep: ofOrg,
  archive: ofOrg,
  subject_request: ofOrg,
  attempt: ofOrg,
  job: ofOrg,
  pii_scan: ofOrg,
  privacy_policy: ofOrg,
  dataset_tokens: (org) => sql`version_id in (select id from dataset_version where org = ${org})`,
  dataset_import: ofOrg,
  dataset_version: ofOrg,
  dataset: ofOrg,
  upload_part: (org) => sql`upload_id in (select id from upload where org = ${org})`,
  upload: ofOrg,
  file: ofOrg,
  stored_object: ofOrg,
  object_deletion: ofOrg,
  stored_answer: ofOrg,
  moderation_entry: (org) => sql`case_id in (select id from moderation_case where org = ${org})`,
  moderation_case: ofOrg,
  moderation_check: ofOrg,
  restriction: ofOrg,
  notice: ofOrg,
  notice_delivery: ofOrg,
  notice_event: ofOrg,
  webhook_endpoint: ofOrg,
  license_acceptance: ofOrg,
  team_share: ofOrg,
  budget_use: (org) => sql`budget_id in (select id from budget where org = ${org})`,
  budget: ofOrg,
  budget_hold: ofOrg,
  billing_account: ofOrg,
  meter_event: ofOrg,
  beta_switch: ofOrg,
  wandb_server: ofOrg,
  sso_group: ofOrg,
  organization_limit: ofOrg,
  team_limit: ofOrg,
  invitation: (org) => sql`organization_id = ${org}`,
  api_key: ofOrg,
  member: (org) => sql`organization_id = ${org}`,
  organization: (org) => sql`id = ${org}`,
};

function ofOrg(org: string): SQL {
  return sql`org = ${org}`;
}

function ofJobs(org: string): SQL {
  return sql`job_id in (select id from job where org = ${org})`;
}

/** An account that is erased. */
interface Person {
  id: string;
  email: string;
}

/** The rows of an account, in an order in which foreign keys allow to delete them. */
export const OF_USER: Record<string, (person: Person) => SQL> = {
  notice_delivery: ({ id, email }) =>
    sql`(destination = ${`mail:${email}`} or event_id in (select id from notice_event where user_id = ${id}))`,
  notice: ofUser,
  notice_event: ({ id, email }) =>
    sql`(user_id = ${id} or subject = ${id} or also_to = ${email}
      or instr(lower(' ' || title || ' ' || body), ${` ${email}`}) > 0)`,
  notice_preference: ofUser,
  banner_dismissal: ofUser,
  // Decisions of a reviewer stay, with an id that stands for nobody.
  moderation_entry: ({ id }) => sql`(user_id = ${id} and kind in ('report', 'appeal'))`,
  archive: ({ id }) => sql`(scope = 'user' and created_by = ${id})`,
  verification: ({ id, email }) =>
    sql`(value = ${id} or instr(value, ${id}) > 0 or instr(lower(value), ${`"${email}"`}) > 0)`,
  invitation: ({ id, email }) => sql`(lower(email) = ${email} or inviter_id = ${id})`,
  api_key: ofUser,
  two_factor: ofUser,
  passkey: ofUser,
  scim_member: ofUser,
  scim_user: ofUser,
  session: ofUser,
  account: ofUser,
  member: ofUser,
  user: ({ id }) => sql`id = ${id}`,
};

function ofUser({ id }: Person): SQL {
  return sql`user_id = ${id}`;
}

/** Tables whose rows stay, or belong to the installation, and why. */
export const STAYS: Record<string, string> = {
  meter_interval: "usage for invoices: ids and numbers; names of fine-tuned models are removed",
  usage_day: "sums of usage: ids and numbers; names of fine-tuned models are removed",
  meter_cursor: "positions of the installation",
  ledger_entry: "the ledger: ids and numbers",
  price_list: "prices that invoices were made with",
  job_price: "prices that invoices were made with",
  allowance_use: "usage for invoices: ids and numbers",
  statement: "invoices",
  statement_line: "invoices",
  credit: "invoices",
  credit_use: "invoices",
  late_charge: "invoices",
  stripe_event: "what the payment provider reported: ids",
  inference: "usage for invoices: ids and numbers; names of fine-tuned models are removed",
  audit_log: "hashes stay, what entries say is removed",
  terms_acceptance: "evidence of the agreement: address and browser are removed",
  hold: "the record of this deletion",
  installation: "the installation",
  secret_setting: "secrets of the installation",
  base_model: "models of the installation",
  host: "machines of the installation",
  gpu: "machines of the installation",
  host_sample: "machines of the installation",
  provider_limit: "providers of the installation",
  provider_pause: "providers of the installation",
  provider_error: "providers of the installation",
  rented_machine: "machines of the installation: ids and numbers",
  provider_orphan: "providers of the installation",
  terms_version: "documents of the installation",
  moderation_rule: "rules of the installation",
  announcement: "announcements of the installation",
  maintenance_window: "maintenance of the installation",
  sso_provider: "sign-in of the installation",
  sso_domain: "sign-in of the installation",
  scim_connection: "sign-in of the installation",
  scim_group: "groups of identity providers: names and ids",
  sso_used: "hashes of answers of providers, removed after minutes",
  status_component: "status of the installation",
  audit_forward: "where the audit log is forwarded to",
  status_day: "status of the installation",
  status_incident: "status of the installation",
  status_update: "status of the installation",
  failed_attempt: "keyed hashes, removed after 15 minutes",
  used_code: "keyed hashes, removed after minutes",
};
