/** Every column with sealed secrets. What is not in this list is not encrypted again when the secret changes. */
import type { Place } from "../lib/sealed.ts";

type SealedKind =
  | "audit_webhook_secret"
  | "audit_webhook_url"
  | "authenticator"
  | "import"
  | "mail"
  | "mail_server"
  | "push"
  | "setting"
  | "sso"
  | "subject"
  | "wandb"
  | "webhook_secret"
  | "webhook_url";

export interface SealedColumn {
  kind: SealedKind;
  table: string;
  column: string;
  /** The column whose value the secret is bound to. */
  row: string;
  /** SQL: only these rows are sealed. */
  where?: string;
  /** The column holds JSON, and this field of it is sealed. */
  field?: string;
  /** SQL of the purpose in texts of earlier versions; absent where there are none, or they are converted elsewhere. */
  earlier?: string;
}

const endpoint = { table: "webhook_endpoint", row: "id", earlier: "'webhook endpoint of ' || org" };

export const SEALED: readonly SealedColumn[] = [
  { kind: "audit_webhook_url", table: "audit_forward", column: "url", row: "kind" },
  { kind: "audit_webhook_secret", table: "audit_forward", column: "secret", row: "kind" },
  // Earlier versions: src/accounts/auth/convert.ts.
  { kind: "authenticator", table: "two_factor", column: "secret", row: "user_id" },
  {
    kind: "import",
    table: "dataset_import",
    column: "secret",
    row: "id",
    earlier: "'import credentials of ' || org",
  },
  { kind: "setting", table: "secret_setting", column: "value", row: "name" },
  { kind: "push", table: "hub_push", column: "secret", row: "id" },
  { kind: "sso", table: "sso_provider", column: "secret", row: "id" },
  { kind: "subject", table: "subject_request", column: "terms", row: "id" },
  { kind: "wandb", table: "wandb_server", column: "key", row: "org", earlier: "'wandb key of ' || org" },
  { ...endpoint, kind: "webhook_url", column: "url" },
  { ...endpoint, kind: "webhook_secret", column: "secret" },
  // A replaced secret moves to this column of the same row.
  { ...endpoint, kind: "webhook_secret", column: "old_secret" },
  {
    kind: "mail",
    table: "notice_delivery",
    column: "payload",
    row: "id",
    where: "channel = 'mail'",
    earlier: "'mail ' || id",
  },
  {
    kind: "mail_server",
    table: "installation",
    column: "value",
    row: "key",
    where: "key = 'mail'",
    field: "password",
    earlier: "'password of the mail server'",
  },
];

/** Where a secret of a listed kind is sealed for. */
export const sealedIn = (kind: SealedKind, row: string): Place => ({ kind, row });
