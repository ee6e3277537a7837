/**
 * Reads the XML of a SAML answer strictly, before its signature is checked: limits, no DTD and no comments, one
 * assertion in one place, and only strong algorithms. What passes has one meaning for every parser.
 */

const MAX_BYTES = 300_000;
const MAX_DEPTH = 40;
const PROTOCOL = "urn:oasis:names:tc:SAML:2.0:protocol";
const SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success";
const EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#";
const INCLUSIVE = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315";

/** What each element may name: SHA-256 and stronger, OAEP for keys, AES for content. */
const ALGORITHMS: Record<string, string[]> = {
  SignatureMethod: ["256", "512"].map((bits) => `http://www.w3.org/2001/04/xmldsig-more#rsa-sha${bits}`),
  DigestMethod: ["256", "512"].map((bits) => `http://www.w3.org/2001/04/xmlenc#sha${bits}`),
  CanonicalizationMethod: [EXCLUSIVE, INCLUSIVE],
  Transform: ["http://www.w3.org/2000/09/xmldsig#enveloped-signature", EXCLUSIVE, INCLUSIVE],
  EncryptionMethod: [
    "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p",
    "http://www.w3.org/2001/04/xmlenc#aes128-cbc",
    "http://www.w3.org/2001/04/xmlenc#aes256-cbc",
    "http://www.w3.org/2009/xmlenc11#aes128-gcm",
    "http://www.w3.org/2009/xmlenc11#aes256-gcm",
  ],
};

/** Why an answer is refused: `code` is what the audit log has. */
export class SamlProblem extends Error {
  constructor(
    readonly code: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** What is read of an answer before its signature is checked; only the assertion's place and id are used later. */
interface Checked {
  text: string;
  /** The `ID` of the assertion; null when it is encrypted. */
  assertion: string | null;
  /** Attributes of the response, which its provider need not sign. */
  inResponseTo: string | null;
  destination: string | null;
  document: Document;
  encrypted: Element | null;
}

const isElement = (node: Node): node is Element => node.nodeType === node.ELEMENT_NODE;
const children = (element: Element) => Array.from(element.childNodes).filter(isElement);
const attribute = (element: Element, name: string) => element.getAttribute(name) || null;

/** Every element with its parent, from the root. */
function* walk(root: Element): Generator<{ element: Element; parent: Element | null }> {
  const open: { element: Element; parent: Element | null; depth: number }[] = [
    { element: root, parent: null, depth: 1 },
  ];
  for (let at = open.pop(); at; at = open.pop()) {
    const { element, depth } = at;
    if (depth > MAX_DEPTH) throw new SamlProblem("saml_size", "the answer is nested too deeply");
    yield at;
    for (const child of children(element)) open.push({ element: child, parent: element, depth: depth + 1 });
  }
}

function checkText(text: string): void {
  if (Buffer.byteLength(text) > MAX_BYTES) throw new SamlProblem("saml_size", `more than ${MAX_BYTES} bytes`);
  if (/<!(DOCTYPE|ENTITY)/i.test(text)) throw new SamlProblem("saml_dtd", "the answer has a document type");
  // A comment splits a text, and readers disagree about which part counts.
  if (/<!|<\?(?!xml\s)/.test(text)) throw new SamlProblem("saml_markup", "the answer has comments or instructions");
}

async function parse(text: string): Promise<Document> {
  const { DOMParser } = await import("@xmldom/xmldom");
  const fail = (message: unknown) => {
    throw new SamlProblem("saml_xml", String(message).slice(0, 200));
  };
  const document = new DOMParser({ errorHandler: { warning: fail, error: fail, fatalError: fail } }).parseFromString(
    text,
    "text/xml",
  );
  if (!document?.documentElement) throw new SamlProblem("saml_xml", "not XML");
  return document;
}

function checkAlgorithm(element: Element, parent: Element | null): void {
  const name = element.localName ?? "";
  // The hash of OAEP is no signature.
  const allowed = name === "DigestMethod" && parent?.localName !== "Reference" ? undefined : ALGORITHMS[name];
  const used = element.getAttribute("Algorithm") ?? "";
  if (allowed && !allowed.includes(used)) throw new SamlProblem("saml_algorithm", `${name} ${used} is not accepted`);
}

/** The status that a provider gives instead of an assertion. */
function checkStatus(root: Element): void {
  const status = children(root).find(({ localName }) => localName === "Status");
  const codes = status ? children(status).filter(({ localName }) => localName === "StatusCode") : [];
  const code = codes[0] ? attribute(codes[0], "Value") : null;
  if (codes.length !== 1 || !code) throw new SamlProblem("saml_structure", "the answer has no status");
  if (code === SUCCESS) return;
  const inner = codes[0] && children(codes[0])[0];
  const why = ((inner && attribute(inner, "Value")) ?? code).split(":").at(-1);
  throw new SamlProblem("saml_status", `the provider answered ${why}`);
}

/** Parses and checks one text. @throws SamlProblem */
async function check(text: string): Promise<Checked> {
  checkText(text);
  const document = await parse(text);
  const root = document.documentElement;
  if (root.localName !== "Response" || root.namespaceURI !== PROTOCOL)
    throw new SamlProblem("saml_structure", "not a SAML response");
  const [ids, signed] = [new Set<string>(), new Set<Element>()];
  let found: Element | null = null;
  for (const { element, parent } of walk(root)) {
    const name = element.localName ?? "";
    const id = attribute(element, "ID") ?? attribute(element, "Id") ?? attribute(element, "id");
    if (id !== null && ids.has(id)) throw new SamlProblem("saml_structure", "two elements have the same id");
    if (id !== null) ids.add(id);
    checkAlgorithm(element, parent);
    if (name === "Assertion" || name === "EncryptedAssertion") {
      if (found || parent !== root)
        throw new SamlProblem("saml_structure", "the answer has more than one assertion, or one in a wrong place");
      found = element;
    }
    if (name === "Signature" && parent) {
      if (signed.has(parent) || (parent !== root && parent.localName !== "Assertion"))
        throw new SamlProblem("saml_structure", "a signature is in a wrong place");
      signed.add(parent);
    }
  }
  checkStatus(root);
  if (!found) throw new SamlProblem("saml_structure", "the answer has no assertion");
  const encrypted = found.localName === "EncryptedAssertion" ? found : null;
  if (!encrypted && !signed.has(found)) throw new SamlProblem("saml_unsigned", "the assertion is not signed");
  return {
    text,
    assertion: encrypted ? null : attribute(found, "ID"),
    inResponseTo: attribute(root, "InResponseTo"),
    destination: attribute(root, "Destination"),
    document,
    encrypted,
  };
}

/** The answer with its assertion in plain text. A signature of the whole response no longer fits, and is left out. */
async function decrypted({ document, encrypted }: Checked, key: string): Promise<string> {
  const { XMLSerializer } = await import("@xmldom/xmldom");
  const { decrypt } = await import("xml-encryption");
  const serializer = new XMLSerializer();
  const root = document.documentElement;
  const plain = await new Promise<string>((resolve, reject) => {
    const options = { key, disallowDecryptionWithInsecureAlgorithm: true, warnInsecureAlgorithm: false };
    decrypt(serializer.serializeToString(encrypted as Element), options, (error, text) =>
      error ? reject(error) : resolve(String(text)),
    );
  }).catch((cause: unknown) => {
    throw new SamlProblem("saml_decryption", "the assertion cannot be decrypted with the key of this server", {
      cause,
    });
  });
  checkText(plain);
  const assertion = (await parse(plain)).documentElement;
  for (const child of children(root)) if (child.localName === "Signature") root.removeChild(child);
  root.replaceChild(document.importNode(assertion, true), encrypted as Element);
  return serializer.serializeToString(document);
}

/**
 * Reads an answer as posted.
 * @param encoded base64
 * @param key private key for encrypted assertions, as PEM
 * @throws SamlProblem
 */
export async function readXml(encoded: string, key: string): Promise<Omit<Checked, "document" | "encrypted">> {
  if (!/^[A-Za-z0-9+/=\s]+$/.test(encoded)) throw new SamlProblem("saml_xml", "not base64");
  const checked = await check(Buffer.from(encoded, "base64").toString("utf8"));
  if (!checked.encrypted) return checked;
  const plain = await check(await decrypted(checked, key));
  if (plain.encrypted) throw new SamlProblem("saml_structure", "the assertion is encrypted twice");
  return plain;
}
