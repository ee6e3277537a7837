/** Requests and answers of beta features. */
import * as v from "valibot";
import { id } from "../../lib/request-fields.ts";

/** Switches a feature for the installation, or for one organization. */
export const SwitchBeta = v.strictObject({
  /** Null = as the feature is without a switch; for an organization: as the installation has it. */
  enabled: v.nullable(v.boolean()),
  /** Id of an organization; null = the installation. */
  organization: v.optional(v.nullable(id), null),
});
export type SwitchBeta = v.InferOutput<typeof SwitchBeta>;

const shared = {
  object: v.literal("beta_feature"),
  id: v.string(),
  name: v.string(),
  description: v.string(),
  /** Version that has it first. */
  since: v.string(),
};

/** A feature as members get it. */
export const BetaView = v.strictObject({
  ...shared,
  /** For the organization of the caller. */
  enabled: v.boolean(),
});
export type BetaView = v.InferOutput<typeof BetaView>;

const Switched = v.strictObject({
  organization: v.nullable(v.string()),
  organization_name: v.nullable(v.string()),
  enabled: v.boolean(),
  changed_by: v.string(),
  /** Address of that account; null when it no longer exists. */
  changed_by_email: v.nullable(v.string()),
  changed_at: v.number(),
});

/** A feature as administrators get it. */
export const AdminBetaView = v.strictObject({
  ...shared,
  /** For organizations without a switch of their own. */
  enabled: v.boolean(),
  /** The switches that were set, that of the installation first (`organization` null). */
  switches: v.array(Switched),
});
export type AdminBetaView = v.InferOutput<typeof AdminBetaView>;
