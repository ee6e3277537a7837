/** Forged SAML answers: how a good one is changed, and the reason that the audit log must have. */
import type { SamlTampering } from "./saml-provider.ts";

const MINUTE = 60_000;
const ASSERTION = /<saml:Assertion[\s\S]*<\/saml:Assertion>/;
const SIGNATURE = /<ds:Signature[\s\S]*<\/ds:Signature>/;

/** Wraps a signed assertion in an answer with an assertion of the attacker: the known variants. */
const wrapped = (make: (parts: { signed: string; evil: string; bare: string; signature: string }) => string) => ({
  after: (xml: string) => {
    const signed = ASSERTION.exec(xml)?.[0] ?? "";
    const signature = SIGNATURE.exec(signed)?.[0] ?? "";
    const bare = signed.replace(signature, "");
    const evil = bare
      .replace(/ ID="[^"]+"/, ' ID="_evil"')
      .replaceAll("mallory", "grace")
      .replaceAll("id-of-mallory", "id-of-grace");
    if (!signature) throw new Error("the answer has no signature to wrap");
    return xml.replace(signed, make({ signed, evil, bare, signature }));
  },
});
const inside = (outer: string, part: string) => outer.replace(/<\/saml:Assertion>$/, `${part}</saml:Assertion>`);
const afterIssuer = (outer: string, part: string) => outer.replace("</saml:Issuer>", `</saml:Issuer>${part}`);
const object = (part: string) => `<ds:Object>${part}</ds:Object></ds:Signature>`;

/** Answers that must not sign anybody in: how they are changed, and the code in the audit log. */
export const FORGED: [string, SamlTampering, string][] = [
  ["nothing is signed", { signed: "nothing" }, "saml_unsigned"],
  ["only the response is signed", { signed: "response" }, "saml_unsigned"],
  ["signed with another key", { key: "other" }, "saml_signature"],
  [
    "changed after it was signed",
    { after: (xml) => xml.replaceAll("mallory@acme.test", "grace@acme.test") },
    "saml_signature",
  ],
  ["signed with SHA-1", { algorithm: "http://www.w3.org/2000/09/xmldsig#rsa-sha1" }, "saml_algorithm"],
  ["wrapping 3: before the signed assertion", wrapped(({ evil, signed }) => evil + signed), "saml_structure"],
  ["wrapping 4: around the signed assertion", wrapped(({ evil, signed }) => inside(evil, signed)), "saml_structure"],
  [
    "wrapping 5: with its signature, the original at the end",
    wrapped(({ evil, bare, signature }) => afterIssuer(evil, signature) + bare),
    "saml_structure",
  ],
  [
    "wrapping 6: the original in its signature",
    wrapped(({ evil, bare, signature }) =>
      afterIssuer(evil, signature.replace("</ds:Signature>", `${bare}</ds:Signature>`)),
    ),
    "saml_structure",
  ],
  [
    "wrapping 7: in extensions",
    wrapped(({ evil, signed }) => `<samlp:Extensions>${evil}</samlp:Extensions>${signed}`),
    "saml_structure",
  ],
  [
    "wrapping 8: the original in an object of its signature",
    wrapped(({ evil, bare, signature }) => afterIssuer(evil, signature.replace("</ds:Signature>", object(bare)))),
    "saml_structure",
  ],
  [
    "the id of the signed assertion twice",
    wrapped(({ evil, signed }) => `<saml:Advice ID="_evil">${evil}</saml:Advice>${signed}`),
    "saml_structure",
  ],
  [
    "the signature of another assertion",
    wrapped(({ evil, signature }) => afterIssuer(evil, signature)),
    "saml_signature",
  ],
  ["another audience", { audience: "https://other.test/metadata" }, "saml_audience"],
  ["another recipient", { recipient: "https://other.test/acs" }, "saml_recipient"],
  ["another destination", { destination: "https://other.test/acs" }, "saml_recipient"],
  ["expired", { notBefore: -10 * MINUTE, notOnOrAfter: -2 * MINUTE }, "saml_expired"],
  ["not yet valid", { notBefore: 2 * MINUTE }, "saml_not_yet_valid"],
  ["another issuer", { issuer: "https://evil.test" }, "saml_issuer"],
  ["a request that the server did not send", { inResponseTo: "_unknown" }, "sso_not_started"],
  ["no request", { inResponseTo: null }, "saml_unsolicited"],
  ["the provider refuses", { status: "AuthnFailed" }, "saml_status"],
  [
    "a comment in the NameID",
    { after: (xml) => xml.replace("id-of-mallory", "id-of-grace<!---->.evil") },
    "saml_markup",
  ],
  [
    "a comment that the provider signed",
    { before: (xml) => xml.replace("mallory@acme.test", "grace@acme.test<!---->.evil.test") },
    "saml_markup",
  ],
  [
    "a document type with entities",
    {
      after: (xml) => `<!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>${xml.replace("id-of-mallory", "&b;")}`,
    },
    "saml_dtd",
  ],
  ["an instruction", { after: (xml) => `<?xml-stylesheet href="x"?>${xml}` }, "saml_markup"],
  ["text that is not XML", { after: () => "<Response" }, "saml_xml"],
  ["too much", { after: (xml) => xml + " ".repeat(300_000) }, "saml_size"],
  [
    "nested without end",
    { after: (xml) => xml.replace("<samlp:Status>", `${"<a>".repeat(50)}${"</a>".repeat(50)}<samlp:Status>`) },
    "saml_size",
  ],
];
