/** What a SAML identity provider says about itself: read from its metadata, which is pasted or asked for by address. */
import { X509Certificate } from "node:crypto";
import * as v from "valibot";
import { type Ctx, perContext } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { certificatePem } from "../../lib/certificate.ts";
import { type Lru, lruOf } from "../../lib/lru.ts";
import { askProvider, checkSignInUrl } from "./connection.ts";
import type { SamlProvider } from "./model.ts";

/** How long metadata from an address is used. */
const KEPT_MS = 10 * 60_000;
const MAX_CACHED = 50;
const MAX_CERTIFICATES = 20;
const MIN_RSA_BITS = 2048;
const REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect";

export interface IdpMetadata {
  entityId: string;
  /** Where browsers are sent (HTTP-Redirect). */
  signInUrl: string;
  /** PEM; several while the provider replaces its key. */
  certificates: string[];
}

const text = v.union([v.string(), v.pipe(v.number(), v.transform(String))]);
const Descriptor = v.object({
  "@_entityID": v.pipe(text, v.minLength(1), v.maxLength(1000)),
  IDPSSODescriptor: v.pipe(
    v.array(
      v.object({
        KeyDescriptor: v.optional(
          v.array(
            v.object({
              "@_use": v.optional(v.string()),
              KeyInfo: v.object({ X509Data: v.array(v.object({ X509Certificate: v.optional(v.array(text), []) })) }),
            }),
          ),
          [],
        ),
        SingleSignOnService: v.optional(
          v.array(v.object({ "@_Binding": v.string(), "@_Location": v.pipe(v.string(), v.url()) })),
          [],
        ),
      }),
    ),
    v.minLength(1),
  ),
});
const LISTS = new Set([
  "EntityDescriptor",
  "IDPSSODescriptor",
  "KeyDescriptor",
  "X509Data",
  "X509Certificate",
  "SingleSignOnService",
]);

const invalid = (why: string, cause?: unknown) =>
  new AppError("invalid", "saml_metadata", `This is not the metadata of a SAML identity provider: ${why}.`, {
    param: "metadata_xml",
    cause,
  });

/** A certificate as PEM. @throws AppError `saml_metadata` when it cannot be used */
function certificateOf(base64: string): string {
  const pem = certificatePem(base64);
  let key: X509Certificate["publicKey"];
  try {
    key = new X509Certificate(pem).publicKey;
  } catch (cause) {
    throw invalid("a certificate cannot be read", cause);
  }
  if (key.asymmetricKeyType !== "rsa" || (key.asymmetricKeyDetails?.modulusLength ?? 0) < MIN_RSA_BITS)
    throw invalid(`a certificate has no RSA key of at least ${MIN_RSA_BITS} bits`);
  return pem;
}

/**
 * Reads metadata.
 * @throws AppError `saml_metadata`, `address_refused`
 */
export async function parseMetadata(ctx: Ctx, xml: string): Promise<IdpMetadata> {
  if (/<!(DOCTYPE|ENTITY)/i.test(xml)) throw invalid("it has a document type");
  const { XMLParser } = await import("fast-xml-parser");
  const parser = new XMLParser({
    ignoreAttributes: false,
    removeNSPrefix: true,
    parseTagValue: false,
    parseAttributeValue: false,
    isArray: (name) => LISTS.has(name),
  });
  let tree: Record<string, unknown>;
  try {
    tree = parser.parse(xml, true);
  } catch (cause) {
    throw invalid("it is not XML", cause);
  }
  const group = tree.EntitiesDescriptor as { EntityDescriptor?: unknown } | undefined;
  const all = (group?.EntityDescriptor ?? tree.EntityDescriptor ?? []) as unknown[];
  const found = all.filter((each) => v.is(Descriptor, each));
  if (found.length !== 1) throw invalid(`it describes ${found.length} identity providers instead of one`);
  const { "@_entityID": entityId, IDPSSODescriptor: roles } = v.parse(Descriptor, found[0]);
  const service = roles.flatMap((each) => each.SingleSignOnService).find((each) => each["@_Binding"] === REDIRECT);
  if (!service) throw invalid("it has no address for signing in by HTTP-Redirect");
  checkSignInUrl(ctx, service["@_Location"]);
  const keys = roles.flatMap((each) => each.KeyDescriptor).filter((each) => (each["@_use"] ?? "signing") === "signing");
  const encoded = keys.flatMap((key) => key.KeyInfo.X509Data.flatMap((data) => data.X509Certificate));
  if (encoded.length === 0) throw invalid("it has no certificate for signatures");
  const certificates = [...new Set(encoded.map(certificateOf))].slice(0, MAX_CERTIFICATES);
  return { entityId: entityId.trim(), signInUrl: service["@_Location"], certificates };
}

interface Known {
  until: number;
  metadata: IdpMetadata;
}
const knownOf = perContext((): Lru<Known> => lruOf(MAX_CACHED));

async function download(ctx: Ctx, provider: SamlProvider, address: string): Promise<IdpMetadata> {
  const fail = (cause: unknown) =>
    new AppError(
      "unavailable",
      "sso_unreachable",
      `The metadata of ${provider.name} cannot be read. Try again, or ask an administrator to test the provider.`,
      { cause },
    );
  try {
    const answer = await askProvider(ctx, address, { headers: { accept: "application/samlmetadata+xml, text/xml" } });
    if (answer.status !== 200) throw new Error(`the provider answered ${answer.status}`);
    return await parseMetadata(ctx, await answer.text());
  } catch (error) {
    ctx.log("warn", "the metadata of an identity provider could not be read", { provider: provider.id, cause: error });
    throw error instanceof AppError && error.code !== "saml_metadata" ? error : fail(error);
  }
}

/**
 * The metadata of a provider.
 * @param fresh asks again, whatever is remembered
 * @throws AppError `sso_unreachable`, `address_refused`, `offline`, `saml_metadata`
 */
export async function metadataOf(ctx: Ctx, provider: SamlProvider, fresh = false): Promise<IdpMetadata> {
  const { metadataXml, metadataUrl } = provider.settings;
  const key = `${provider.id} ${provider.updatedAt}`;
  const known = knownOf(ctx).get(key);
  const now = ctx.clock.now();
  if (!fresh && known && known.until > now) return known.metadata;
  const metadata =
    metadataXml === null ? await download(ctx, provider, metadataUrl ?? "") : await parseMetadata(ctx, metadataXml);
  knownOf(ctx).set(key, { metadata, until: now + KEPT_MS });
  return metadata;
}
