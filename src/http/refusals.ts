/** Refused keys and denied permissions of requests, for the audit log. The answer does not wait for the entry. */

import { noteRefusal } from "../accounts/audit/refusals.ts";
import { sentKey } from "../accounts/auth/service.ts";
import { noteRefusedKey } from "../accounts/keys/refused.ts";
import type { Ctx } from "../ctx.ts";
import type { AppError } from "../errors.ts";
import { pathOf } from "./address.ts";
import { requestState } from "./request-state.ts";

/** Permissions, by the code of the answer. Other 403 answers are limits and terms, not permissions. */
const PERMISSIONS: ReadonlySet<string> = new Set([
  "admin_only",
  "permission_denied",
  "insufficient_scope",
  "scope_exceeds_key",
  "exceeds_key",
  "key_address_not_allowed",
  "key_changes_others",
  "key_creates_for_others",
  "model_not_allowed",
  "foreign_origin",
  "priority_too_high",
  "path_refused",
  "address_refused",
]);

/** Answers to keys that are not accepted at all. */
const REFUSED_KEYS: ReadonlySet<string> = new Set(["invalid_api_key", "account_suspended", "deletion_scheduled"]);

async function note(ctx: Ctx, request: Request, error: AppError): Promise<void> {
  const state = requestState(request);
  if (!state) return;
  const { source, actor } = state;
  const key = REFUSED_KEYS.has(error.code) ? sentKey(request) : null;
  if (key !== null) return noteRefusedKey(ctx, key, source);
  if (error.kind !== "forbidden" || !PERMISSIONS.has(error.code)) return;
  await noteRefusal(ctx, {
    action: "access.denied",
    account: actor && { userId: actor.userId, org: actor.org },
    target: `${request.method} ${pathOf(request.url)}`.slice(0, 200),
    source,
    reason: error.code,
    detail: actor?.keyId ? { key: actor.keyId } : {},
  });
}

/** Records a request that was refused for what it may not do; other errors are ignored. */
export function noteRefused(ctx: Ctx, request: Request, error: AppError): void {
  note(ctx, request, error).catch((cause) => ctx.log("warn", "a refusal could not be recorded", { cause }));
}
