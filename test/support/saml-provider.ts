/**
 * A real SAML identity provider in this process: `samlify`, which reads and checks our metadata and requests, and signs
 * and encrypts answers. What it answers can be changed before and after it is signed.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { IdentityProvider, ServiceProvider, setSchemaValidator } from "samlify";
import { type KeyPair, selfSigned } from "../../src/lib/certificate.ts";

const HOUR_MS = 3_600_000;
const FORMAT = "urn:oasis:names:tc:SAML:";
const XMLENC = "http://www.w3.org/2001/04/xmlenc#";
const DSIG = "http://www.w3.org/2001/04/xmldsig-more#";

/** A person at the provider. */
export interface SamlPerson {
  nameId?: string;
  format?: string;
  attributes?: Record<string, string | string[]>;
}

/** How an answer is changed: times are milliseconds from now. */
export interface SamlTampering {
  issuer?: string;
  audience?: string;
  recipient?: string;
  destination?: string;
  notBefore?: number;
  notOnOrAfter?: number;
  authnInstant?: number;
  /** Null leaves it out. */
  inResponseTo?: string | null;
  status?: string;
  /** Applied to the XML before it is signed. */
  before?: (xml: string) => string;
  /** Applied to the XML after it is signed. */
  after?: (xml: string) => string;
  /** What is signed, and with which key. */
  signed?: "assertion" | "response" | "nothing";
  key?: "own" | "next" | "other";
  algorithm?: string;
  encrypted?: boolean;
}

/** What the provider lets the browser post. */
export interface SamlPost {
  acs: string;
  form: { SAMLResponse: string; RelayState: string };
}

export interface SamlIdentityProvider {
  /** Where its metadata is. */
  metadataUrl: string;
  entityId: string;
  host: string;
  people: Map<string, SamlPerson>;
  tampering: SamlTampering;
  /** The last request, as read and checked by the library. */
  lastRequest: { id: string; forceAuthn: boolean } | null;
  /** Its metadata: with the certificate of its key, and of the next one. */
  metadata(): string;
  /** The metadata of this server that it trusts. */
  trust(metadata: string): void;
  /** Answers what the application asked for by redirect. */
  answer(address: string, person: string): Promise<SamlPost>;
  /** An answer that nobody asked for. */
  unasked(person: string, relayState: string): Promise<SamlPost>;
  close(): Promise<void>;
}

const escaped = (text: string) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
const idOf = () => `_${crypto.randomUUID()}`;

/** @param now milliseconds since 1970, the clock of the application under test */
export async function startSamlProvider(now: () => number): Promise<SamlIdentityProvider> {
  // The library asks for a validator of XML schemas; the application under test has to refuse without one.
  setSchemaValidator({ validate: async () => "not validated" });
  const [own, next, other] = [
    await selfSigned("own", now(), 1),
    await selfSigned("next", now(), 1),
    await selfSigned("other", now(), 1),
  ];
  let spMetadata = "";
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? "/", `http://${state.host}`);
    const send = (type: string, text: string) => {
      response.setHeader("content-type", type);
      response.end(text);
    };
    if (url.pathname === "/metadata") return send("text/xml", state.metadata());
    const fields = [...url.searchParams].map(([k, v]) => `<input type="hidden" name="${k}" value="${escaped(v)}">`);
    const person = url.searchParams.get("person");
    if (!person)
      return send("text/html", `<form>${fields.join("")}<input name="person"><button>Sign in</button></form>`);
    url.searchParams.delete("person");
    void state.answer(url.href, person).then(({ acs, form }) => {
      const hidden = Object.entries(form).map(([k, v]) => `<input type="hidden" name="${k}" value="${escaped(v)}">`);
      send("text/html", `<form method="post" action="${acs}">${hidden.join("")}<button>Continue</button></form>`);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // Another site than 127.0.0.1, where browser tests have the application.
  const host = `localhost:${(server.address() as AddressInfo).port}`;
  const entityId = `http://${host}/metadata`;
  const binding = {
    Binding: `${FORMAT}2.0:bindings:HTTP-Redirect`,
    Location: `http://${host}/sign-in`,
    isDefault: true,
  };

  const libraryOf = ({ key = "own", algorithm, encrypted }: SamlTampering) => {
    const pair = { own, next, other }[key];
    const settings = {
      entityID: entityId,
      signingCert: pair.certificate,
      privateKey: pair.privateKey,
      singleSignOnService: [binding],
      singleLogoutService: [binding],
      wantAuthnRequestsSigned: true,
      requestSignatureAlgorithm: algorithm ?? `${DSIG}rsa-sha256`,
      isAssertionEncrypted: encrypted ?? false,
      keyEncryptionAlgorithm: `${XMLENC}rsa-oaep-mgf1p`,
      dataEncryptionAlgorithm: `${XMLENC}aes256-cbc`,
      nameIDFormat: [],
    };
    // The types of the library lack one setting.
    return IdentityProvider(settings);
  };

  function xmlOf(person: SamlPerson, acs: string, audience: string, request: string | null): string {
    const change = state.tampering;
    const at = (ms: number) => new Date(now() + ms).toISOString();
    const inResponseTo = change.inResponseTo === undefined ? request : change.inResponseTo;
    const answers = inResponseTo === null ? "" : ` InResponseTo="${inResponseTo}"`;
    const until = at(change.notOnOrAfter ?? HOUR_MS / 12);
    const attributes = Object.entries(person.attributes ?? {}).map(([name, value]) => {
      const values = [value].flat().map((each) => `<saml:AttributeValue>${escaped(each)}</saml:AttributeValue>`);
      return `<saml:Attribute Name="${name}">${values.join("")}</saml:Attribute>`;
    });
    const issuer = `<saml:Issuer>${change.issuer ?? entityId}</saml:Issuer>`;
    return `<samlp:Response xmlns:samlp="${FORMAT}2.0:protocol" xmlns:saml="${FORMAT}2.0:assertion" ID="${idOf()}" Version="2.0" IssueInstant="${at(0)}" Destination="${change.destination ?? acs}"${answers}>${issuer}<samlp:Status><samlp:StatusCode Value="${FORMAT}2.0:status:${change.status ?? "Success"}"/></samlp:Status><saml:Assertion xmlns:saml="${FORMAT}2.0:assertion" ID="${idOf()}" Version="2.0" IssueInstant="${at(0)}">${issuer}<saml:Subject><saml:NameID Format="${person.format ?? `${FORMAT}2.0:nameid-format:persistent`}">${escaped(person.nameId ?? "")}</saml:NameID><saml:SubjectConfirmation Method="${FORMAT}2.0:cm:bearer"><saml:SubjectConfirmationData NotOnOrAfter="${until}" Recipient="${change.recipient ?? acs}"${answers}/></saml:SubjectConfirmation></saml:Subject><saml:Conditions NotBefore="${at(change.notBefore ?? -1000)}" NotOnOrAfter="${until}"><saml:AudienceRestriction><saml:Audience>${change.audience ?? audience}</saml:Audience></saml:AudienceRestriction></saml:Conditions><saml:AuthnStatement AuthnInstant="${at(change.authnInstant ?? 0)}"><saml:AuthnContext><saml:AuthnContextClassRef>${FORMAT}2.0:ac:classes:PasswordProtectedTransport</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement><saml:AttributeStatement>${attributes.join("")}</saml:AttributeStatement></saml:Assertion></samlp:Response>`;
  }

  async function post(name: string, request: string | null, relayState: string): Promise<SamlPost> {
    const { signed = "assertion", before, after, ...change } = state.tampering;
    const person = state.people.get(name) ?? {};
    // Which part is signed follows the metadata of the service.
    const metadata =
      signed === "assertion" ? spMetadata : spMetadata.replace('AssertionsSigned="true"', 'AssertionsSigned="false"');
    const sp = ServiceProvider({ metadata, wantMessageSigned: signed === "response" });
    const acs = String(sp.entityMeta.getAssertionConsumerService("post"));
    const audience = sp.entityMeta.getEntityID();
    const plain = xmlOf({ nameId: `id-of-${name}`, ...person }, acs, audience, request);
    const xml = before ? before(plain) : plain;
    let encoded = Buffer.from(xml).toString("base64");
    if (signed !== "nothing") {
      const made = await libraryOf(change).createLoginResponse(
        sp,
        { extract: {} },
        "post",
        {},
        {
          customTagReplacement: () => ({ id: "", context: xml }),
        },
      );
      encoded = made.context;
    }
    const text = Buffer.from(encoded, "base64").toString();
    const SAMLResponse = Buffer.from(after ? after(text) : text).toString("base64");
    return { acs, form: { SAMLResponse, RelayState: relayState } };
  }

  const state: SamlIdentityProvider = {
    metadataUrl: `http://${host}/metadata`,
    entityId,
    host,
    people: new Map(),
    tampering: {},
    lastRequest: null,
    metadata: () => {
      const key = ({ certificate }: KeyPair) =>
        `<KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data><ds:X509Certificate>${certificate.replace(/-----[A-Z ]+-----/g, "")}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></KeyDescriptor>`;
      return `<EntityDescriptor xmlns="${FORMAT}2.0:metadata" entityID="${entityId}"><IDPSSODescriptor protocolSupportEnumeration="${FORMAT}2.0:protocol">${key(own)}${key(next)}<SingleSignOnService Binding="${binding.Binding}" Location="${binding.Location}"/></IDPSSODescriptor></EntityDescriptor>`;
    },
    trust: (metadata) => {
      spMetadata = metadata;
    },
    answer: async (address, person) => {
      const url = new URL(address);
      const query = Object.fromEntries(url.searchParams);
      // Redirect bindings sign the query as sent.
      const octetString = ["SAMLRequest", "RelayState", "SigAlg"]
        .flatMap((name) =>
          url.search
            .slice(1)
            .split("&")
            .filter((part) => part.startsWith(`${name}=`)),
        )
        .join("&");
      const sp = ServiceProvider({ metadata: spMetadata });
      const { extract, samlContent } = await libraryOf({}).parseLoginRequest(sp, "redirect", { query, octetString });
      const id = String((extract.request as { id?: unknown } | undefined)?.id);
      state.lastRequest = { id, forceAuthn: /ForceAuthn="true"/.test(samlContent) };
      return post(person, id, query.RelayState ?? "");
    },
    unasked: (person, relayState) => post(person, null, relayState),
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
  return state;
}
