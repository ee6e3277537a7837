/** Keys and tokens of services: how each begins, and its whole form. */
import type { SecretKind } from "./kinds.ts";

interface SecretForm {
  kind: SecretKind;
  /** Texts of which one is in every match, so that other texts are not searched. */
  signs: readonly string[];
  /** Matches with `g`. The group `key`, where there is one, is the secret itself. */
  form: RegExp;
}

/** Forms, the more exact ones first. */
export const SECRETS: readonly SecretForm[] = [
  { kind: "aws_access_key", signs: ["AKIA", "ASIA"], form: /\b(?:AKIA|ASIA)[A-Z2-7]{16}\b/g },
  {
    kind: "aws_secret_key",
    signs: ["ecret", "ECRET"],
    form: /secret_?(?:access_?)?key["']?\s{0,3}[:=]\s{0,3}["']?(?<key>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])/gi,
  },
  {
    kind: "gcp_key",
    signs: ["AIza", "GOCSPX-", "ya29."],
    form: /\bAIza[\w-]{35}(?![\w-])|\bGOCSPX-[\w-]{28}(?![\w-])|\bya29\.[\w-]{40,400}/g,
  },
  {
    kind: "azure_key",
    signs: ["AccountKey=", "SharedAccessKey=", "8Q~"],
    form: /(?:AccountKey|SharedAccessKey)=(?<key>[A-Za-z0-9+/]{42,86}={1,2})|\b[\w.~-]{3}8Q~[\w.~-]{34}/g,
  },
  {
    kind: "github_token",
    signs: ["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"],
    form: /\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_\w{40,255})/g,
  },
  { kind: "gitlab_token", signs: ["glpat-"], form: /\bglpat-[\w-]{20,60}/g },
  {
    kind: "slack_token",
    signs: ["xox", "xapp-", "hooks.slack.com"],
    form: /\bxox[abeoprs]-[A-Za-z0-9-]{10,250}|\bxapp-[A-Za-z0-9-]{20,250}|hooks\.slack\.com\/services\/[A-Z0-9/]{10,40}[A-Za-z0-9]{10,40}/g,
  },
  {
    kind: "stripe_key",
    signs: ["k_live_", "k_test_", "whsec_"],
    form: /\b(?:[rs]k_(?:live|test)_[A-Za-z0-9]{16,250}|whsec_[A-Za-z0-9+/=]{20,120})/g,
  },
  { kind: "anthropic_key", signs: ["sk-ant-"], form: /\bsk-ant-[\w-]{20,200}/g },
  {
    kind: "openai_key",
    signs: ["sk-"],
    form: /\bsk-(?!ant-)(?:proj-|svcacct-|admin-)?(?=[\w-]{0,60}\d)[A-Za-z0-9][\w-]{19,250}/g,
  },
  { kind: "huggingface_token", signs: ["hf_"], form: /\bhf_[A-Za-z0-9]{30,60}\b/g },
  { kind: "npm_token", signs: ["npm_"], form: /\bnpm_[A-Za-z0-9]{36}\b/g },
  { kind: "sendgrid_key", signs: ["SG."], form: /\bSG\.[\w-]{16,32}\.[\w-]{16,64}/g },
  { kind: "jwt", signs: ["eyJ"], form: /\beyJ[\w-]{8,4000}\.eyJ[\w-]{8,8000}\.[\w-]{10,2000}/g },
];

/** One sign of any of them: one search instead of many. */
export const ANY_SIGN =
  /A[KS]IA|[Ee]cret|ECRET|AIza|GOCSPX-|ya29\.|AccountKey=|SharedAccessKey=|8Q~|gh[pousr]_|github_pat_|glpat-|xox|xapp-|hooks\.slack|k_live_|k_test_|whsec_|sk-|hf_|npm_|SG\.|eyJ/;

/** A value given to a name of a secret: `api_key = "…"`. */
export const ASSIGNED =
  /(?:key|token|secret|passwd|password|pwd)["']?\s{0,3}(?::|=>?)\s{0,3}["'`]?(?<key>[\w+/.~!@#$%^&*=-]{8,250})/gi;

const PEM = "PRIVATE KEY";
const BEGIN = /-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----/g;
const END = "-----END";
/** Most characters of a private key. */
const MAX_PEM = 20_000;

/** Shannon entropy in bits a character. */
export function entropy(text: string): number {
  const counts = new Map<string, number>();
  for (const letter of text) counts.set(letter, (counts.get(letter) ?? 0) + 1);
  let bits = 0;
  for (const count of counts.values()) bits -= (count / text.length) * Math.log2(count / text.length);
  return bits;
}

/** The places of private keys in PEM form, from their first to their last line. */
export function* privateKeys(text: string): Generator<{ start: number; end: number }> {
  if (!text.includes(PEM)) return;
  let from = 0;
  for (const { index, 0: line } of text.matchAll(BEGIN)) {
    if (index < from) continue;
    const body = index + line.length;
    const stop = text.indexOf(END, body);
    const close = stop < 0 ? -1 : text.indexOf("-----", stop + END.length);
    const whole = close > 0 && close - body < MAX_PEM;
    // A key that is cut off: as far as its letters go.
    const cut = /^[A-Za-z0-9+/=\s\\:,-]{0,20000}/.exec(text.slice(body, body + MAX_PEM))?.[0].length ?? 0;
    from = whole ? close + 5 : body + cut;
    yield { start: index, end: from };
  }
}
