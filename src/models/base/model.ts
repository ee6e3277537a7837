/** Request schemas of base models, and their rows as the API shows them. */
import * as v from "valibot";
import type { Actor } from "../../ctx.ts";
import type { baseModel, licenseAcceptance } from "../../db/schema/models.ts";
import { seconds } from "../../lib/request-fields.ts";
import { nameText, noHidden } from "../../lib/text/names.ts";
import { type CatalogueEntry, DEFAULT_BASE_MODEL, findCatalogue } from "./catalogue.ts";
import type { InstallProgress } from "./progress.ts";

export type BaseModelRow = typeof baseModel.$inferSelect;
type AcceptanceRow = typeof licenseAcceptance.$inferSelect;

const ModelId = v.pipe(
  v.string(),
  v.regex(/^[a-z0-9][a-z0-9._-]{0,99}$/, "use lower-case letters, digits, dots, dashes and underscores (at most 100)"),
);

export const ImportHub = v.strictObject({
  source: v.literal("hub"),
  repo: v.pipe(v.string(), v.regex(/^[A-Za-z0-9][\w.-]{0,95}\/[A-Za-z0-9][\w.-]{0,95}$/, "must be owner/name")),
  /** Branch, tag or commit; its current commit is pinned. */
  revision: v.optional(v.pipe(v.string(), v.regex(/^[A-Za-z0-9][\w.\-/]{0,99}$/)), "main"),
  id: v.optional(ModelId),
});
export const ImportLocal = v.strictObject({
  source: v.literal("local"),
  /** Absolute path on the server's machine. */
  directory: v.pipe(
    v.string(),
    noHidden,
    v.startsWith("/", "must be an absolute path on the server"),
    v.maxLength(4096),
  ),
  id: v.optional(ModelId),
  license: v.optional(nameText(200)),
});
export const ImportTuned = v.strictObject({
  source: v.literal("tuned"),
  /** A full fine-tuned model, or one whose adapter was exported as merged safetensors. */
  model: v.pipe(v.string(), v.startsWith("ft:", "must be the id of a fine-tuned model, ft:…"), v.maxLength(400)),
  id: v.optional(ModelId),
});
/** The default model, converted from its Python package again. */
export const ImportPackage = v.strictObject({ source: v.literal("package"), id: v.optional(ModelId) });
export const ImportRequest = v.variant("source", [ImportHub, ImportLocal, ImportTuned, ImportPackage]);
export type ImportHubRequest = v.InferOutput<typeof ImportHub>;
export type ImportLocalRequest = v.InferOutput<typeof ImportLocal>;
export type ImportTunedRequest = v.InferOutput<typeof ImportTuned>;
export type ImportPackageRequest = v.InferOutput<typeof ImportPackage>;

/** Licenses that nobody has to accept. */
const PERMISSIVE = new Set(["apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0", "cc0-1.0", "unlicense"]);

/** True when a named person has to accept the license before first use. */
export function needsAcceptance(row: Pick<BaseModelRow, "id" | "source" | "license">): boolean {
  const known = findCatalogue(row.id);
  if (known) return known.acceptance;
  return row.source === "hub" && !PERMISSIVE.has(row.license.toLowerCase());
}

/** A base model as the API shows it. `status` `available`: in the catalogue and not installed. Times in seconds. */
export const BaseModelView = v.strictObject({
  object: v.literal("base_model"),
  id: v.string(),
  name: v.string(),
  family: v.nullable(v.string()),
  publisher: v.nullable(v.string()),
  /** Repository on the hub, also accepted as an alias. */
  hub: v.nullable(v.string()),
  default: v.boolean(),
  license: v.strictObject({
    name: v.string(),
    url: v.nullable(v.string()),
    requires_acceptance: v.boolean(),
    accepted: v.boolean(),
    accepted_by: v.nullable(v.string()),
    accepted_at: v.nullable(v.number()),
  }),
  parameters: v.nullable(v.number()),
  context_length: v.nullable(v.number()),
  architecture: v.record(v.string(), v.unknown()),
  template: v.nullable(v.string()),
  /** Where the numbers are published. */
  source_url: v.nullable(v.string()),
  status: v.picklist(["available", "installing", "ready", "failed"]),
  progress: v.nullable(v.strictObject({ message: v.string(), fraction: v.nullable(v.number()) })),
  error: v.nullable(v.string()),
  source: v.nullable(
    v.strictObject({
      kind: v.picklist(["package", "local", "hub", "tuned"]),
      reference: v.string(),
      revision: v.string(),
    }),
  ),
  /** Made from a fine-tuned model that stays on this server. */
  stays_local: v.boolean(),
  hash: v.nullable(v.string()),
  bytes: v.nullable(v.number()),
  created_at: v.nullable(v.number()),
});
export type BaseModelView = v.InferOutput<typeof BaseModelView>;

export function parseProgress(text: string | null): InstallProgress | null {
  return text ? (JSON.parse(text) as InstallProgress) : null;
}

/** The architecture of a catalog model, named as in the row of an installed one. */
export function catalogueArchitecture(entry: CatalogueEntry): Record<string, unknown> {
  return {
    parameters: entry.parameters,
    layers: entry.layers,
    hidden_size: entry.hidden,
    intermediate_size: entry.intermediate,
    attention_heads: entry.heads,
    key_value_heads: entry.kvHeads,
    head_dim: entry.headDim,
    vocab_size: entry.vocabulary,
    context_length: entry.context,
    tied_embeddings: entry.tiedEmbeddings,
  };
}

/** An absolute path anywhere in a text. */
const SERVER_PATH = /(^|[\s'"`(:=,])\/[^\s/]/;

/** Why an install failed, without paths of the server, for people who do not administer it. */
export function publicError(error: string | null): string | null {
  if (error === null || !SERVER_PATH.test(error)) return error;
  return "The model could not be installed. Administrators of this installation see the reason on this page.";
}

/**
 * A base model as the API shows it: the catalogue's entry, the installed row, or both.
 * @param viewer only administrators see paths of the server; others see the name of an imported directory
 */
export function baseModelView(
  entry: CatalogueEntry | null,
  row: BaseModelRow | null,
  acceptance: AcceptanceRow | null,
  viewer: Pick<Actor, "role">,
): BaseModelView {
  const isAdmin = viewer.role === "admin";
  const architecture = { ...(entry ? catalogueArchitecture(entry) : {}), ...row?.architecture };
  const required = row ? needsAcceptance(row) : (entry?.acceptance ?? false);
  const number = (value: unknown) => (typeof value === "number" ? value : null);
  return {
    object: "base_model",
    id: row?.id ?? entry?.id ?? "",
    name: entry?.name ?? row?.name ?? "",
    family: entry?.family ?? null,
    publisher: entry?.publisher ?? null,
    hub: entry?.hub ?? (row?.source === "hub" ? row.sourceRef : null),
    default: (row?.id ?? entry?.id) === DEFAULT_BASE_MODEL,
    license: {
      name: entry?.license ?? row?.license ?? "unknown",
      url: entry?.licenseUrl ?? null,
      requires_acceptance: required,
      accepted: !required || acceptance !== null,
      accepted_by: acceptance?.userId ?? null,
      accepted_at: acceptance ? seconds(acceptance.at) : null,
    },
    parameters: number(architecture.parameters),
    context_length: number(architecture.context_length),
    architecture,
    template: entry?.template ?? null,
    source_url: entry?.source ?? null,
    status: row?.status ?? "available",
    progress: row?.status === "installing" ? parseProgress(row.progress) : null,
    error: isAdmin ? (row?.error ?? null) : publicError(row?.error ?? null),
    source: row
      ? {
          kind: row.source,
          reference: row.source === "local" && !isAdmin ? row.name : row.sourceRef,
          revision: row.revision,
        }
      : null,
    stays_local: row?.staysLocal ?? false,
    hash: row?.hash ?? null,
    bytes: row?.files ? row.files.reduce((sum, file) => sum + file.size, 0) : null,
    created_at: row ? seconds(row.createdAt) : null,
  };
}
