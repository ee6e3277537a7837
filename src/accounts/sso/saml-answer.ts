/**
 * Checks the answer of a SAML provider and reads who has signed in. `node-saml` verifies the signature and returns the
 * signed bytes of the assertion; everything below is read from these bytes alone.
 */
import * as v from "valibot";
import type { Ctx } from "../../ctx.ts";
import type { Identity } from "./identity.ts";
import type { SamlProvider } from "./model.ts";
import type { IdpMetadata } from "./saml-metadata.ts";
import { readXml, SamlProblem } from "./saml-xml.ts";

/** How far the clocks of provider and server may be apart. */
const SKEW_MS = 60_000;
const MAX_VALUES = 1000;
const BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer";
const FORMAT = "urn:oasis:names:tc:SAML:1.1:nameid-format:";
const TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient";

/** Names under which providers send the address and the name, in order. */
const EMAIL_NAMES = [
  "email",
  "mail",
  "emailAddress",
  "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress",
  "urn:oid:0.9.2342.19200300.100.1.3",
];
const NAME_NAMES = [
  "displayName",
  "name",
  "http://schemas.microsoft.com/identity/claims/displayname",
  "urn:oid:2.16.840.1.113730.3.1.241",
];

/** An element with text as xml2js reads it: the text alone, or with attributes. */
const Text = v.pipe(
  v.union([v.string(), v.object({ _: v.optional(v.string(), "") })]),
  v.transform((value) => (typeof value === "string" ? value : value._).trim()),
);
const time = v.pipe(
  v.string(),
  v.transform((text) => Date.parse(text)),
  v.number(),
);
const optionalTime = v.optional(time);
const one = <O>(schema: v.GenericSchema<unknown, O>) =>
  v.pipe(
    v.array(schema),
    v.length(1),
    v.transform((list) => list[0] as O),
  );

const Assertion = v.object({
  Assertion: v.object({
    $: v.object({ ID: v.pipe(v.string(), v.minLength(1), v.maxLength(500)) }),
    Issuer: one(Text),
    Subject: one(
      v.object({
        NameID: one(
          v.object({
            _: v.pipe(v.string(), v.trim(), v.minLength(1), v.maxLength(500)),
            $: v.optional(v.object({ Format: v.optional(v.string()) })),
          }),
        ),
        SubjectConfirmation: v.array(
          v.object({
            $: v.object({ Method: v.string() }),
            SubjectConfirmationData: v.optional(
              one(
                v.object({
                  $: v.object({
                    Recipient: v.optional(v.string()),
                    InResponseTo: v.optional(v.string()),
                    NotBefore: optionalTime,
                    NotOnOrAfter: optionalTime,
                  }),
                }),
              ),
            ),
          }),
        ),
      }),
    ),
    Conditions: one(
      v.object({
        $: v.optional(v.object({ NotBefore: optionalTime, NotOnOrAfter: optionalTime }), {}),
        AudienceRestriction: v.optional(v.array(v.object({ Audience: v.array(Text) })), []),
      }),
    ),
    AuthnStatement: v.optional(
      v.array(
        v.object({
          $: v.object({ AuthnInstant: time }),
          AuthnContext: v.optional(v.array(v.object({ AuthnContextClassRef: v.optional(v.array(Text), []) })), []),
        }),
      ),
      [],
    ),
    AttributeStatement: v.optional(
      v.array(
        v.union([
          v.string(),
          v.object({
            Attribute: v.optional(
              v.array(
                v.object({
                  $: v.object({ Name: v.string(), FriendlyName: v.optional(v.string()) }),
                  AttributeValue: v.optional(v.array(v.fallback(Text, "")), []),
                }),
              ),
              [],
            ),
          }),
        ]),
      ),
      [],
    ),
  }),
});
type Assertion = v.InferOutput<typeof Assertion>["Assertion"];

/** A person at a provider, and what binds the answer to this server. */
export interface SamlAnswer {
  identity: Identity;
  assertion: string;
  /** When the assertion is refused for its age, in milliseconds since 1970. */
  until: number;
  /** The request that it answers; null when the person began at the provider. */
  inResponseTo: string | null;
}

/** Where this server is, as the provider must address it. */
export interface ServiceAddress {
  entityId: string;
  acs: string;
}

/** The signed bytes of the assertion, read. */
async function verified(encoded: string, metadata: IdpMetadata, { entityId, acs }: ServiceAddress): Promise<Assertion> {
  const { SAML } = await import("@node-saml/node-saml");
  const saml = new SAML({
    callbackUrl: acs,
    issuer: entityId,
    idpCert: metadata.certificates,
    wantAssertionsSigned: true,
    wantAuthnResponseSigned: false,
    // Times and audience are checked below: by the clock of the server, and with a reason for the audit log.
    acceptedClockSkewMs: -1,
    audience: false,
  });
  let found: unknown;
  try {
    found = (await saml.validatePostResponseAsync({ SAMLResponse: encoded })).profile?.getAssertion?.();
  } catch (cause) {
    throw new SamlProblem("saml_signature", "the signature is not one of the provider", { cause });
  }
  const parsed = v.safeParse(Assertion, found);
  if (!parsed.success)
    throw new SamlProblem("saml_structure", `the assertion is incomplete at ${v.getDotPath(parsed.issues[0])}`);
  return parsed.output.Assertion;
}

function checkTimes(now: number, from: number | undefined, until: number | undefined): void {
  if (from !== undefined && now + SKEW_MS < from) throw new SamlProblem("saml_not_yet_valid", "not valid yet");
  if (until !== undefined && now - SKEW_MS >= until) throw new SamlProblem("saml_expired", "no longer valid");
}

/** The confirmation that the bearer may sign in here. @returns its end and the request it answers */
function confirmation(assertion: Assertion, acs: string, now: number): { until: number; inResponseTo: string | null } {
  const bearers = assertion.Subject.SubjectConfirmation.filter(({ $ }) => $.Method === BEARER);
  const data = bearers.flatMap(({ SubjectConfirmationData: each }) => (each ? [each.$] : []));
  const mine = data.find(({ Recipient }) => Recipient === acs);
  if (!mine) throw new SamlProblem("saml_recipient", `the assertion is for ${data[0]?.Recipient ?? "nobody"}`);
  if (mine.NotOnOrAfter === undefined) throw new SamlProblem("saml_structure", "the confirmation has no end");
  checkTimes(now, mine.NotBefore, mine.NotOnOrAfter);
  return { until: mine.NotOnOrAfter + SKEW_MS, inResponseTo: mine.InResponseTo ?? null };
}

function checkAudience({ Conditions }: Assertion, entityId: string): void {
  const restrictions = Conditions.AudienceRestriction;
  if (restrictions.length > 0 && restrictions.every(({ Audience }) => Audience.includes(entityId))) return;
  const named = restrictions.flatMap(({ Audience }) => Audience).join(", ");
  throw new SamlProblem("saml_audience", `the assertion is for ${named || "every service"}`);
}

/** Values of the first attribute that has one of the names, as name or friendly name. */
function attributeOf(assertion: Assertion, names: string[]): string[] {
  const all = assertion.AttributeStatement.flatMap((each) => (typeof each === "string" ? [] : each.Attribute));
  for (const name of names) {
    const found = all.filter(({ $ }) => $.Name === name || $.FriendlyName === name);
    const values = found.flatMap(({ AttributeValue }) => AttributeValue).filter(Boolean);
    if (values.length > 0) return values.slice(0, MAX_VALUES);
  }
  return [];
}

/** The person: NameID and issuer together are the id. */
function identityOf(provider: SamlProvider, assertion: Assertion): Identity {
  const { _: nameId, $ } = assertion.Subject.NameID;
  if ($?.Format === TRANSIENT)
    throw new SamlProblem("saml_name_id", "the NameID changes at every sign-in: set it to persistent or emailAddress");
  const { emailAttribute, groupsClaim } = provider.settings;
  const [sent] = attributeOf(assertion, emailAttribute === null ? EMAIL_NAMES : [emailAttribute]);
  const isAddress = $?.Format === `${FORMAT}emailAddress` || nameId.includes("@");
  const email = sent ?? (emailAttribute === null && isAddress ? nameId : null);
  const [statement] = assertion.AuthnStatement;
  return {
    subject: `${assertion.Issuer} ${nameId}`,
    email: email?.toLowerCase() ?? null,
    // SAML has no such statement; `trust_email` is the administrator's.
    emailVerified: false,
    name: attributeOf(assertion, NAME_NAMES)[0] ?? null,
    groups: attributeOf(assertion, [groupsClaim]),
    amr: [],
    acr: statement?.AuthnContext[0]?.AuthnContextClassRef[0] ?? null,
    authTime: statement ? statement.$.AuthnInstant / 1000 : null,
  };
}

/**
 * Reads an answer. It is not marked as used here.
 * @param given.key private key of this server, for encrypted assertions
 * @throws SamlProblem
 */
export async function readAnswer(
  ctx: Ctx,
  provider: SamlProvider,
  given: { encoded: string; metadata: IdpMetadata; service: ServiceAddress; key: string },
): Promise<SamlAnswer> {
  const { metadata, service } = given;
  const xml = await readXml(given.encoded, given.key);
  const assertion = await verified(Buffer.from(xml.text).toString("base64"), metadata, service);
  if (assertion.$.ID !== xml.assertion) throw new SamlProblem("saml_signature", "another assertion is signed");
  if (assertion.Issuer !== metadata.entityId)
    throw new SamlProblem("saml_issuer", `the assertion is of ${assertion.Issuer.slice(0, 200)}`);
  if (xml.destination !== null && xml.destination !== service.acs)
    throw new SamlProblem("saml_recipient", "the response is for another address");
  const now = ctx.clock.now();
  const { until, inResponseTo } = confirmation(assertion, service.acs, now);
  if (xml.inResponseTo !== inResponseTo)
    throw new SamlProblem("saml_in_response_to", "response and assertion answer different requests");
  checkTimes(now, assertion.Conditions.$.NotBefore, assertion.Conditions.$.NotOnOrAfter);
  checkAudience(assertion, service.entityId);
  if (inResponseTo === null && !provider.settings.idpInitiated)
    throw new SamlProblem("saml_unsolicited", "nobody asked for this answer, and the provider may not begin a sign-in");
  return { identity: identityOf(provider, assertion), assertion: assertion.$.ID, until, inResponseTo };
}
