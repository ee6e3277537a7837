/** Service accounts of an organization as clients send and see them. Times of views are Unix seconds. */
import * as v from "valibot";
import { seconds } from "../../lib/request-fields.ts";
import { Name } from "../auth/model.ts";

/** The roles that a service account may have: what it does with its keys, never who owns the organization. */
export const SERVICE_ROLES = ["member", "viewer", "admin"] as const;
export type ServiceRole = (typeof SERVICE_ROLES)[number];

export const CreateServiceAccount = v.strictObject({
  name: Name,
  /** Role in the organization. */
  role: v.optional(v.picklist(SERVICE_ROLES), "member"),
});
export type CreateServiceAccount = v.InferOutput<typeof CreateServiceAccount>;

export const ChangeServiceAccount = v.strictObject({
  name: v.optional(Name),
  role: v.optional(v.picklist(SERVICE_ROLES)),
});
export type ChangeServiceAccount = v.InferOutput<typeof ChangeServiceAccount>;

/** Times in milliseconds. */
export interface ServiceAccountRow {
  id: string;
  name: string;
  role: ServiceRole;
  createdBy: string | null;
  /** The creator's address, or the name of a service account; null when it is gone. */
  creator: string | null;
  createdAt: number;
  /** Last request with one of its keys; null = never. */
  lastUsedAt: number | null;
  /** Keys that are neither revoked nor expired. */
  keys: number;
}

export const ServiceAccountView = v.strictObject({
  object: v.literal("service_account"),
  id: v.string(),
  name: v.string(),
  /** Role in the organization. */
  role: v.picklist(SERVICE_ROLES),
  /** Id of who created it. */
  created_by: v.nullable(v.string()),
  created_at: v.number(),
  /** Last request with one of its keys; null = never. */
  last_used_at: v.nullable(v.number()),
  /** Keys that are neither revoked nor expired. */
  keys: v.number(),
});
export type ServiceAccountView = v.InferOutput<typeof ServiceAccountView>;

export function serviceAccountView(row: ServiceAccountRow): ServiceAccountView {
  return {
    object: "service_account",
    id: row.id,
    name: row.name,
    role: row.role,
    created_by: row.createdBy,
    created_at: seconds(row.createdAt),
    last_used_at: row.lastUsedAt === null ? null : seconds(row.lastUsedAt),
    keys: row.keys,
  };
}
