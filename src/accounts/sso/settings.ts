/** What each protocol stores of a provider: read from what an administrator sent, with the secret sealed. */
import type { Ctx } from "../../ctx.ts";
import { sealedIn } from "../../db/sealed-columns.ts";
import { AppError } from "../../errors.ts";
import { selfSigned } from "../../lib/certificate.ts";
import { seal } from "../../lib/sealed.ts";
import { checkIssuer, checkMetadataUrl } from "./connection.ts";
import {
  type ChangeProvider,
  type CreateOidc,
  type CreateProvider,
  type CreateSaml,
  type OidcProvider,
  type OidcSettings,
  OWN_FIELDS,
  type Provider,
  type SamlSettings,
} from "./model.ts";
import { parseMetadata } from "./saml-metadata.ts";

/** Years that the certificate of this server's own key is valid. Providers use it only as the wrapping of the key. */
const KEY_YEARS = 20;

interface Stored {
  settings: OidcSettings | SamlSettings;
  /** Sealed; null without one. */
  secret: string | null;
}

const sealed = (ctx: Ctx, id: string, text: string) => seal(ctx.secret, sealedIn("sso", id), text);

type Source = Pick<SamlSettings, "metadataUrl" | "metadataXml">;

/** Exactly one of the two sources of metadata, and one that can be used. */
async function checkMetadata(ctx: Ctx, { metadataUrl: url, metadataXml: xml }: Source): Promise<void> {
  if ((url === null) === (xml === null))
    throw new AppError(
      "invalid",
      "invalid_value",
      "Give the address of the provider's metadata or the metadata itself.",
      {
        param: url === null ? "metadata_url" : "metadata_xml",
      },
    );
  if (url !== null) checkMetadataUrl(ctx, url);
  if (xml !== null) await parseMetadata(ctx, xml);
}

function newOidc(ctx: Ctx, id: string, given: CreateOidc): Stored {
  checkIssuer(ctx, given.issuer);
  const { issuer, client_id: clientId, scopes, groups_claim: groupsClaim } = given;
  return {
    settings: { issuer, clientId, scopes, groupsClaim },
    secret: given.client_secret ? sealed(ctx, id, given.client_secret) : null,
  };
}

async function newSaml(ctx: Ctx, id: string, given: CreateSaml): Promise<Stored> {
  const settings = {
    metadataUrl: given.metadata_url,
    metadataXml: given.metadata_xml,
    emailAttribute: given.email_attribute,
    idpInitiated: given.idp_initiated,
    groupsClaim: given.groups_claim,
  };
  await checkMetadata(ctx, settings);
  const { privateKey, certificate } = await selfSigned("Fine-Tune Lab", ctx.clock.now(), KEY_YEARS);
  return { settings: { ...settings, certificate }, secret: sealed(ctx, id, privateKey) };
}

/**
 * The settings of a new provider. One of SAML gets a key of this server.
 * @throws AppError `address_refused`, `offline`, `saml_metadata`, `invalid_value`
 */
export async function newSettings(ctx: Ctx, id: string, given: CreateProvider): Promise<Stored> {
  return given.type === "saml" ? newSaml(ctx, id, given) : newOidc(ctx, id, given);
}

/** The sealed secret after a change. A secret is never sent to an issuer that it was not entered for. */
function secretAfter(ctx: Ctx, before: OidcProvider, given: ChangeProvider): string | null {
  if (given.client_secret) return sealed(ctx, before.id, given.client_secret);
  if (before.secret === null || !given.issuer || given.issuer === before.settings.issuer) return before.secret;
  throw new AppError(
    "invalid",
    "secret_again",
    "Enter the client secret again: the issuer changed, and the stored secret is only for the previous one.",
    { param: "client_secret" },
  );
}

/**
 * The settings after a change; absent fields stay.
 * @throws AppError those of `newSettings`, `secret_again`, `unknown_parameter` for a field of the other protocol
 */
export async function changedSettings(ctx: Ctx, before: Provider, given: ChangeProvider): Promise<Stored> {
  const foreign = OWN_FIELDS[before.type === "saml" ? "oidc" : "saml"].find((field) => Object.hasOwn(given, field));
  if (foreign)
    throw new AppError(
      "invalid",
      "unknown_parameter",
      `Unknown parameter: '${foreign}'. A provider of the type ${before.type} does not have it.`,
      { param: foreign },
    );
  const groupsClaim = given.groups_claim ?? before.settings.groupsClaim;
  if (before.type === "oidc") {
    if (given.issuer) checkIssuer(ctx, given.issuer);
    const { settings } = before;
    return {
      settings: {
        issuer: given.issuer ?? settings.issuer,
        clientId: given.client_id ?? settings.clientId,
        scopes: given.scopes ?? settings.scopes,
        groupsClaim,
      },
      secret: secretAfter(ctx, before, given),
    };
  }
  const { settings } = before;
  // One source replaces the other.
  const [url, xml] = [given.metadata_url, given.metadata_xml];
  const changed: SamlSettings = {
    ...settings,
    metadataUrl: url === undefined ? (xml ? null : settings.metadataUrl) : url,
    metadataXml: xml === undefined ? (url ? null : settings.metadataXml) : xml,
    emailAttribute: given.email_attribute === undefined ? settings.emailAttribute : given.email_attribute,
    idpInitiated: given.idp_initiated ?? settings.idpInitiated,
    groupsClaim,
  };
  await checkMetadata(ctx, changed);
  return { settings: changed, secret: before.secret };
}
