/** States that last only for a while: maintenance, moderation checks of a model, archives in progress, provisioning. */

import { modelInOrg, restrict } from "../src/accounts/restrictions/service.ts";
import { createToken } from "../src/accounts/scim/connection.ts";
import { createProvider } from "../src/accounts/sso/providers.ts";
import type { Actor, Ctx } from "../src/ctx.ts";
import { archive } from "../src/db/schema/archives.ts";
import { deployment } from "../src/db/schema/deployments.ts";
import { scheduleMaintenance } from "../src/notices/maintenance/service.ts";
import type { Shot } from "./screenshots-shoot.ts";

const MODEL = "ft:smollm2-135m-instruct:alpha:m-checked";
const CHECKED = "dep_checkedseed0seed";

async function addArchives(ctx: Ctx, { org, userId }: Actor): Promise<void> {
  const now = ctx.clock.now();
  const row = { org, scope: "user" as const, checkpoints: true, createdBy: userId };
  await ctx.write((tx) =>
    tx.insert(archive).values([
      {
        ...row,
        id: "arc_runningseed",
        status: "running",
        bytesDone: 1_400_000_000,
        bytesTotal: 3_800_000_000,
        createdAt: now - 90_000,
      },
      {
        ...row,
        id: "arc_failedseed",
        status: "failed",
        error: "There is no space left on the disk.",
        createdAt: now - 3_600_000,
        finishedAt: now - 3_500_000,
      },
    ]),
  );
}

async function addChecked(ctx: Ctx, { org, userId }: Actor): Promise<void> {
  const createdAt = ctx.clock.now() - 40_000;
  await ctx.write(async (tx) => {
    await restrict(tx, ctx, {
      subject: modelInOrg(org, MODEL),
      org,
      object: "model",
      kind: "checking",
      name: MODEL,
      hash: null,
      reason: "Moderation checks run before the first deployment.",
      caseId: null,
    });
    await tx.insert(deployment).values({
      id: CHECKED,
      org,
      name: "triage-of-support-messages",
      model: MODEL,
      baseModelId: "smollm2-135m-instruct",
      wanted: "running",
      state: "starting",
      createdBy: userId,
      createdAt,
    });
  });
}

/** Adds them to an installation. @returns links by kind */
export async function addRare(ctx: Ctx, actor: Actor): Promise<Record<string, string>> {
  await addArchives(ctx, actor);
  await addChecked(ctx, actor);
  const soon = Math.floor(ctx.clock.now() / 1000) + 5400;
  await scheduleMaintenance(ctx, actor, {
    starts_at: soon,
    ends_at: soon + 7200,
    reason: "New GPUs in both machines",
    message: "Training jobs continue afterwards.",
    endpoints: "stay",
    trainings: "interrupt",
    lead_seconds: 3600,
    mail: false,
  });
  const provider = await createProvider(ctx, actor, {
    type: "oidc",
    name: "Okta",
    enabled: true,
    enforced: false,
    second_factor: true,
    trust_email: false,
    default_organization: null,
    domains: ["example.test"],
    groups: [{ group: "ML engineers", organization: actor.org, organization_role: "member", role: "member" }],
    issuer: "https://login.example.test",
    client_id: "finetune-lab",
    client_secret: "a-secret-of-the-provider",
    scopes: "openid email profile",
    groups_claim: "groups",
  });
  await createToken(ctx, actor, provider.id);
  return { provider: `/admin/sso/${provider.id}` };
}

export const RARE_SHOTS: Shot[] = [
  { name: "providers", path: "/providers", seeds: ["full"] },
  { name: "admin-provider", path: "/admin/providers/runpod", seeds: ["full"] },
  { name: "sso-provider", path: ({ provider }) => provider, seeds: ["failing"] },
  { name: "queue-maintenance", path: "/queue", seeds: ["failing"] },
  { name: "deployment-checking", path: `/deployments/${CHECKED}`, seeds: ["failing"] },
  { name: "archives-open", path: "/settings/data", seeds: ["failing"] },
  { name: "login-sso", path: "/login", open: true, seeds: ["failing"] },
];
