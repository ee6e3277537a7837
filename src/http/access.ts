/**
 * The permission that each route needs. A route that is not listed is refused to everybody but administrators of the
 * installation; the test matrix reads this table and fails for such a route.
 */
import { can, type Permission, type Powers } from "../roles.ts";

/**
 * `public` needs nothing, `trainer` the token of an attempt, `scim` the token of an identity provider, a permission a
 * caller who has it. A route that is `unlisted` needs an administrator of the installation.
 */
export type Access = "public" | "trainer" | "scim" | "unlisted" | Permission;

/** Routes by what they need: `METHOD path` as registered; `*` is any method, and a trailing `*` matches the rest. */
const TABLE: Partial<Record<Access, string[]>> = {
  public: [
    "GET /healthz",
    "GET /health",
    // Its route asks for the token of monitoring.
    "GET /metrics",
    "GET /assets/*",
    "GET /favicon.ico",
    "* /login",
    "* /login/code",
    "POST /login/passkey",
    "POST /passkey/options",
    "* /setup",
    "* /invite",
    "* /reset",
    "* /not-me",
    "* /forgot",
    "* /confirm-email",
    "GET /sso/*",
    "POST /sso/*",
    "GET /openapi.json",
    "GET /terms",
    "GET /privacy",
    "GET /acceptable-use",
    "GET /v1/terms",
    // Their routes ask the billing setting public_prices.
    "GET /pricing",
    "GET /v1/prices",
    // Its routes ask the setting status_page.
    "GET /status",
    "GET /v1/status",
    "GET /v1/status/incidents",
    // Its route checks the signature of Stripe.
    "POST /v1/stripe/webhook",
  ],
  trainer: ["* /trainer/v1/*"],
  // Its routes ask for the token.
  scim: ["* /scim/v2/*"],
  "account.read": [
    "GET /",
    "GET /accept-terms",
    "GET /announcements",
    "GET /confirm",
    "GET /docs",
    "GET /settings",
    "GET /settings/delete",
    "GET /settings/email",
    "GET /settings/notifications",
    "GET /settings/data*",
    "GET /settings/two-factor*",
    "GET /notices",
    "GET /v1/announcements",
    "GET /v1/beta",
    // For an organization the service asks for more.
    "GET /v1/archives*",
    "GET /v1/account/deletion",
    "GET /v1/maintenance",
    "GET /settings/keys/*",
    "GET /v1/keys*",
    "GET /v1/me",
    "GET /v1/passkeys",
    "GET /v1/notices*",
    "GET /v1/sessions",
    "GET /v1/terms/acceptance",
    "GET /v1/two_factor",
  ],
  "account.write": [
    "POST /accept-terms",
    "POST /announcements/*",
    "POST /maintenance/*",
    "POST /pricing/*",
    "POST /v1/announcements/*",
    "POST /v1/terms/acceptance",
    "POST /confirm",
    "POST /logout",
    "POST /theme",
    "POST /notices/read",
    "POST /settings/*",
    "POST /v1/archives",
    "DELETE /v1/archives/*",
    "POST /v1/notices/*",
    "* /v1/sessions*",
    "* /v1/two_factor*",
    "* /v1/passkeys/*",
    "POST /v1/reauthenticate",
    "* /v1/account/deletion",
    // Leaving the team; for anybody else the service asks for more.
    "POST /team/leave",
    "DELETE /v1/organization/members/*",
  ],
  "keys.write": [
    "POST /settings/keys*",
    "POST /v1/keys*",
    "DELETE /v1/keys/*",
    // For one's own keys, jobs and sweeps; for anything else the service asks for more.
    "POST /usage/budgets*",
    "POST /v1/budgets",
    "PATCH /v1/budgets/*",
    "DELETE /v1/budgets/*",
  ],
  "team.read": ["GET /team", "GET /v1/organization", "GET /v1/organization/members*", "GET /v1/organization/privacy"],
  "members.manage": [
    "GET /team/service-accounts/*",
    "* /v1/service_accounts*",
    "POST /team/*",
    "POST /v1/organization/members*",
    "* /v1/organization/invitations*",
  ],
  "team.manage": [
    "POST /team/name",
    "POST /team/sign-in",
    "POST /team/limits",
    "POST /team/burst",
    "POST /v1/organization",
    "* /v1/organization/limits",
    "* /v1/organization/burst",
    "POST /v1/organization/privacy",
    "* /v1/subject_requests*",
    "* /team/people*",
    "POST /team/privacy",
  ],
  "billing.manage": [
    "GET /billing/payment",
    "POST /billing/payment/*",
    "GET /v1/billing/account",
    "POST /v1/billing/checkout",
    "POST /v1/billing/portal",
  ],
  "team.export": ["GET /team/data*", "POST /team/data*"],
  "audit.read": ["GET /team/audit", "GET /v1/organization/audit*"],
  "owners.manage": ["* /team/delete", "POST /team/delete/*", "* /v1/organization/deletion"],
  "usage.read": [
    "GET /usage",
    "GET /usage/budgets",
    "GET /usage.csv",
    "GET /v1/usage*",
    "GET /v1/limits",
    "GET /v1/budgets*",
  ],
  "usage.team": [
    "GET /billing",
    "GET /billing/*",
    "GET /v1/billing/statements*",
    "GET /v1/billing/credits",
    "GET /v1/organization/usage/*",
    "GET /v1/organization/costs",
  ],
  "models.list": ["GET /v1/models", "GET /v1/models/*"],
  "answers.read": ["GET /v1/chat/completions*", "GET /v1/responses/*"],
  "objects.read": [
    "GET /datasets*",
    "GET /deployments*",
    "GET /evaluations*",
    "GET /hosts*",
    "GET /jobs*",
    "GET /models*",
    "GET /queue*",
    "GET /search",
    "GET /settings/webhooks*",
    "GET /sweeps*",
    "GET /v1/artifacts/*",
    "GET /v1/base_models*",
    "GET /v1/datasets*",
    "GET /v1/deployments*",
    "GET /v1/evaluations*",
    "GET /v1/exports/*",
    "GET /v1/files*",
    "GET /v1/fine_tuning/jobs*",
    "GET /v1/hosts*",
    "GET /v1/jobs*",
    "POST /v1/jobs/metrics",
    "GET /moderation/*",
    "GET /report",
    "GET /v1/moderation/decisions*",
    "POST /v1/moderation/reports",
    "POST /report",
    "GET /v1/passport_key",
    "GET /v1/providers",
    "GET /v1/pushes/*",
    "GET /v1/queue*",
    "GET /v1/stream",
    "GET /v1/sweeps*",
    "GET /v1/webhook_endpoints*",
    "GET /v1/webhook_event_types",
  ],
  "data.write": [
    "POST /datasets*",
    "PUT /datasets*",
    // Appeals; the service asks whether the object is the caller's own.
    "POST /moderation/*",
    "POST /v1/moderation/decisions/*",
    "POST /v1/datasets*",
    "DELETE /v1/datasets/*",
    "POST /v1/files",
    "DELETE /v1/files/*",
    "POST /v1/uploads*",
  ],
  "runs.write": [
    "POST /jobs*",
    "GET /jobs/new",
    "POST /queue/*",
    "POST /evaluations*",
    "GET /evaluations/new",
    "POST /sweeps*",
    "GET /sweeps/new",
    "POST /v1/evaluations",
    "POST /v1/evaluations/plan",
    "POST /v1/fine_tuning/alpha/graders/*",
    "POST /v1/fine_tuning/jobs*",
    "POST /v1/jobs*",
    "PATCH /v1/jobs/*",
    "DELETE /v1/jobs/*",
    "DELETE /v1/evaluations/*",
    "DELETE /v1/sweeps/*",
    "POST /v1/queue/*",
    "POST /v1/sweeps*",
  ],
  "models.write": [
    "POST /models/*",
    "POST /v1/base_models/*",
    "POST /v1/models/*",
    "POST /v1/pushes/*",
    "DELETE /v1/models/*",
    "DELETE /v1/exports/*",
  ],
  "deployments.write": ["POST /deployments*", "POST /v1/deployments*", "DELETE /v1/deployments/*"],
  inference: [
    "GET /playground",
    "POST /v1/chat/completions*",
    "DELETE /v1/chat/completions/*",
    "POST /v1/completions",
    "POST /v1/embeddings",
    "POST /v1/moderations",
    "POST /v1/responses*",
    "DELETE /v1/responses/*",
  ],
  "webhooks.write": ["POST /settings/webhooks*", "POST /v1/webhook_endpoints*", "DELETE /v1/webhook_endpoints/*"],
  review: ["GET /review*", "POST /review/*", "GET /v1/moderation/cases*", "POST /v1/moderation/cases/*"],
  installation: [
    "* /v1/billing/settings",
    "* /v1/moderation/settings",
    "* /v1/moderation/rules*",
    "* /admin",
    "* /admin/*",
    "* /v1/admin/*",
    "* /v1/fine_tuning/checkpoints/*",
    "POST /models/import",
    "POST /v1/base_models/import",
    "POST /v1/hosts/*",
    "DELETE /v1/hosts/*",
    "POST /v1/gpus/*",
    "GET /hosts/add",
    "GET /providers",
    "POST /hosts/*",
  ],
};

const rows = Object.entries(TABLE).flatMap(([access, routes]) =>
  routes.map((route) => {
    const [method = "", path = ""] = route.split(" ");
    return { method, path, access: access as Access };
  }),
);
const exact = new Map(
  rows.filter(({ path }) => !path.endsWith("*")).map(({ method, path, access }) => [`${method} ${path}`, access]),
);
/** The longest prefix decides, then the one that names the method. */
const prefixes = rows
  .filter(({ path }) => path.endsWith("*"))
  .map(({ method, path, access }) => ({ method, prefix: path.slice(0, -1), access }))
  .sort((a, b) => b.prefix.length - a.prefix.length || Number(a.method === "*") - Number(b.method === "*"));

/** What a registered route, or the path of a request, needs. A path without a route is `unlisted` too. */
export function accessOf(given: string, route: string): Access {
  const method = given === "HEAD" ? "GET" : given;
  // The router matches a path with a trailing slash to the same route.
  const plain = route.length > 1 && route.endsWith("/") ? route.slice(0, -1) : route;
  const found = exact.get(`${method} ${plain}`) ?? exact.get(`* ${plain}`);
  if (found) return found;
  const match = prefixes.find((each) => {
    if (each.method !== "*" && each.method !== method) return false;
    if (!route.startsWith(each.prefix)) return false;
    // `/jobs*` is /jobs and what is below it, not /jobs-of-others.
    const next = route[each.prefix.length];
    return each.prefix.endsWith("/") || next === undefined || next === "/";
  });
  return match?.access ?? "unlisted";
}

/** Whether a signed-in caller may send a request, as far as roles and scopes decide it. */
export function mayCall(actor: Powers, method: string, path: string): boolean {
  const access = accessOf(method, path);
  if (access === "public") return true;
  if (access === "trainer" || access === "scim") return false;
  return can(actor, access === "unlisted" ? "installation" : access);
}
