/** The documents of the installation as clients see them, and what they send. */
import * as v from "valibot";
import type { termsAcceptance, termsVersion } from "../../db/schema/terms.ts";
import { PageQuery } from "../../lib/page.ts";
import { id, seconds } from "../../lib/request-fields.ts";

export type VersionRow = typeof termsVersion.$inferSelect;
export type AcceptanceRow = typeof termsAcceptance.$inferSelect;
export type DocumentName = VersionRow["document"];

/** The documents in the order in which they are shown. */
export const DOCUMENTS = ["terms", "acceptable-use", "privacy"] as const satisfies readonly DocumentName[];
export const TITLES: Record<DocumentName, string> = {
  terms: "Terms of service",
  "acceptable-use": "Acceptable use policy",
  privacy: "Privacy policy",
};

export const DocumentField = v.picklist(DOCUMENTS, `must be one of ${DOCUMENTS.join(", ")}`);
const seconds1970 = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(253_402_300_799));

/** Publishes a version. */
export const PublishVersion = v.strictObject({
  document: DocumentField,
  /** Markdown; HTML in it is shown as text. */
  text: v.pipe(v.string(), v.trim(), v.minLength(1, "must not be empty"), v.maxLength(200_000)),
  /** What is different, for the notice and the page. */
  summary: v.optional(v.pipe(v.string(), v.trim(), v.maxLength(800)), ""),
  /** Users must accept it. The first version of a document always is; later ones take effect 30 days ahead or more. */
  material: v.optional(v.boolean(), true),
  /** In seconds since 1970; now when absent. */
  effective_at: v.optional(v.nullable(seconds1970)),
});
export type PublishVersion = v.InferOutput<typeof PublishVersion>;

/** Accepts versions. */
export const AcceptTerms = v.strictObject({
  /** Ids of the versions, as `GET /v1/terms/acceptance` lists them. */
  versions: v.pipe(v.array(id), v.minLength(1), v.maxLength(10)),
  /** The user is 18 or older and has legal capacity. Needed once for each account. */
  adult: v.optional(v.boolean(), false),
});
export type AcceptTerms = v.InferOutput<typeof AcceptTerms>;

/** A version of a document. Times in seconds since 1970. */
export const VersionView = v.strictObject({
  object: v.literal("terms_version"),
  id: v.string(),
  document: v.picklist(DOCUMENTS),
  title: v.string(),
  version: v.number(),
  material: v.boolean(),
  summary: v.string(),
  effective_at: v.number(),
  created_at: v.number(),
  withdrawn_at: v.nullable(v.number()),
  /** Where to read it. */
  path: v.string(),
  /** Markdown. */
  text: v.string(),
});
export type VersionView = v.InferOutput<typeof VersionView>;

/** What the caller has still to accept. */
export const PendingView = v.strictObject({
  object: v.literal("terms_acceptance"),
  /** Versions in force; without them requests are refused. */
  due: v.array(VersionView),
  /** Versions that take effect later, and can be accepted now. */
  upcoming: v.array(VersionView),
  /** The account has still to confirm that its user is 18 or older with legal capacity. */
  adult_needed: v.boolean(),
});

/** Who accepted which version. */
export const AcceptanceView = v.strictObject({
  object: v.literal("terms_acceptance.record"),
  id: v.string(),
  user: v.string(),
  email: v.string(),
  document: v.picklist(DOCUMENTS),
  version: v.number(),
  version_id: v.string(),
  how: v.picklist(["page", "api", "sign_up", "invitation", "continued_use"]),
  adult: v.boolean(),
  address: v.string(),
  user_agent: v.string(),
  created_at: v.number(),
});
export type AcceptanceView = v.InferOutput<typeof AcceptanceView>;

export const AcceptanceQuery = v.strictObject({ ...PageQuery.entries, document: v.optional(DocumentField) });
export const AcceptanceExportQuery = v.strictObject({
  document: v.optional(DocumentField),
  format: v.optional(v.picklist(["csv", "jsonl"]), "csv"),
});

export const pathOf = (document: DocumentName, number?: number) =>
  number === undefined ? `/${document}` : `/${document}?version=${number}`;

export function versionView(row: VersionRow): VersionView {
  const { id, document, number, material, summary, text } = row;
  return {
    object: "terms_version",
    id,
    document,
    title: TITLES[document],
    version: number,
    material,
    summary,
    effective_at: seconds(row.effectiveAt),
    created_at: seconds(row.createdAt),
    withdrawn_at: row.withdrawnAt === null ? null : seconds(row.withdrawnAt),
    path: pathOf(document, number),
    text,
  };
}

export function acceptanceView(row: AcceptanceRow): AcceptanceView {
  const { id, email, how, adult, address } = row;
  return {
    object: "terms_acceptance.record",
    id,
    user: row.userId,
    email,
    document: DOCUMENTS.find((name) => name === row.document) ?? "terms",
    version: row.number,
    version_id: row.versionId,
    how,
    adult,
    address,
    user_agent: row.userAgent,
    created_at: seconds(row.createdAt),
  };
}
