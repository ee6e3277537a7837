/** The kinds of personal data and secrets that detectors find, with their names and the marks that replace them. */

/** Kinds that are secrets of a service, not data of a person. */
const SECRET_KINDS = {
  aws_access_key: "AWS access key",
  aws_secret_key: "AWS secret key",
  gcp_key: "Google Cloud key",
  azure_key: "Azure key",
  github_token: "GitHub token",
  gitlab_token: "GitLab token",
  slack_token: "Slack token",
  stripe_key: "Stripe key",
  openai_key: "OpenAI key",
  anthropic_key: "Anthropic key",
  huggingface_token: "Hugging Face token",
  npm_token: "npm token",
  sendgrid_key: "SendGrid key",
  jwt: "JSON web token",
  api_key: "API key or password",
  private_key: "Private key",
} as const;

const NATIONAL_KINDS = {
  us_ssn: "US Social Security number",
  us_itin: "US taxpayer number (ITIN)",
  uk_nino: "UK National Insurance number",
  uk_nhs: "UK NHS number",
  de_tax_id: "German tax id",
  de_id_card: "German identity card",
  fr_nir: "French social security number",
  it_fiscal_code: "Italian fiscal code",
  es_dni: "Spanish DNI",
  es_nie: "Spanish NIE",
  nl_bsn: "Dutch BSN",
  pl_pesel: "Polish PESEL",
  in_aadhaar: "Indian Aadhaar",
  in_pan: "Indian PAN",
  br_cpf: "Brazilian CPF",
  br_cnpj: "Brazilian CNPJ",
  cn_resident_id: "Chinese resident id",
  jp_my_number: "Japanese My Number",
  kr_rrn: "Korean resident number",
  ca_sin: "Canadian SIN",
  au_tfn: "Australian tax file number",
  mx_curp: "Mexican CURP",
  tr_id: "Turkish identity number",
  za_id: "South African id",
} as const;

const PERSONAL_KINDS = {
  email: "E-mail address",
  phone: "Phone number",
  iban: "IBAN",
  card: "Payment card",
  ip: "IP address",
} as const;

/** Kinds that only an engine with a language model finds. */
const ENGINE_KINDS = { person: "Name of a person", location: "Place", other: "Other personal data" } as const;

/** Every kind, with its name. */
export const PII_KINDS = { ...PERSONAL_KINDS, ...NATIONAL_KINDS, ...SECRET_KINDS, ...ENGINE_KINDS } as const;

export type PiiKind = keyof typeof PII_KINDS;
export type SecretKind = keyof typeof SECRET_KINDS;
export type NationalKind = keyof typeof NATIONAL_KINDS;

export const PII_KIND_NAMES = Object.keys(PII_KINDS) as PiiKind[];

/** A place in a text; `end` is the index after it, in UTF-16 units. */
export interface Finding {
  kind: PiiKind;
  start: number;
  end: number;
  /** 0 to 1: 0.95 with a checksum or an unmistakable form, 0.5 and more with a form alone. */
  confidence: number;
}

export const isSecretKind = (kind: PiiKind): kind is SecretKind => kind in SECRET_KINDS;
const isNationalKind = (kind: PiiKind): kind is NationalKind => kind in NATIONAL_KINDS;

/** What replaces a value: `[EMAIL]`, `[NATIONAL_ID]`, `[SECRET]`. */
export function markOf(kind: PiiKind): string {
  if (isSecretKind(kind)) return "[SECRET]";
  return isNationalKind(kind) ? "[NATIONAL_ID]" : `[${kind.toUpperCase()}]`;
}
