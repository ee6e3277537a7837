/** Finds personal data and secrets in a text: a pure function, linear in the length of the text. */
import { isIP } from "node:net";
import { ibanDigits, isCard } from "./checksums.ts";
import { IBAN_LENGTHS } from "./iban.ts";
import type { Finding } from "./kinds.ts";
import { NATIONAL_IDS } from "./national-ids.ts";
import { findPhones } from "./phones.ts";
import { ANY_SIGN, ASSIGNED, entropy, privateKeys, SECRETS } from "./secrets.ts";

type Found = (finding: Finding) => void;

/** Characters before a number in which a word must stand. */
const CONTEXT = 60;
/** Six digits with little between them: without them a text has no number of interest. */
const HAS_NUMBER = /\d(?:[ .()/-]{0,2}\d){5}/;
const TWO_DIGITS = /\d\d/;
/** Bits a character that a generated key has, and words and placeholders do not. */
const MIN_ENTROPY = 3.2;

const LOCAL = /[\p{Script=Latin}\p{Script=Cyrillic}\d._%+'-]/u;
/** Not of scripts without spaces: there the next word would belong to the domain. */
const DOMAIN =
  /(?:[\p{Script=Latin}\p{Script=Cyrillic}\d](?:[\p{Script=Latin}\p{Script=Cyrillic}\d-]{0,61}[\p{Script=Latin}\p{Script=Cyrillic}\d])?\.){1,8}[\p{Script=Latin}\p{Script=Cyrillic}]{2,24}(?![\p{Script=Latin}\p{Script=Cyrillic}\d-])/uy;

function findEmails(text: string, found: Found): void {
  for (let at = text.indexOf("@"); at >= 0; at = text.indexOf("@", at + 1)) {
    let start = at;
    while (start > 0 && at - start < 64 && LOCAL.test(text.charAt(start - 1))) start--;
    while (start < at && ".'-".includes(text.charAt(start))) start++;
    if (start === at || text.charAt(at - 1) === ".") continue;
    DOMAIN.lastIndex = at + 1;
    const domain = DOMAIN.exec(text)?.[0];
    if (domain) found({ kind: "email", start, end: at + 1 + domain.length, confidence: 0.95 });
  }
}

const CARD =
  /(?<![\d.])(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|\d{4}([ -])\d{6}\2\d{4,5})(?![\d.]\d|\d)/g;
const GROUP = /^\d+/;

function findCards(text: string, found: Found): void {
  CARD.lastIndex = 0;
  for (let match = CARD.exec(text); match; match = CARD.exec(text)) {
    const { index, 0: number } = match;
    // Thirteen digits without groups: timestamps and article numbers, and no card of today.
    if (number.length > 13 && isCard(number.replace(/[ -]/g, "")))
      found({ kind: "card", start: index, end: index + number.length, confidence: 0.95 });
    // Of numbers one after another, the first group may belong to another number.
    else CARD.lastIndex = index + (GROUP.exec(number)?.[0].length ?? 1);
  }
}

const IBAN = /\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{2,4}){2,8}(?![A-Z0-9])/g;
const IBAN_START = /\b[A-Z]{2}\d{2}[ A-Z0-9]{11}/;

function findIbans(text: string, found: Found): void {
  if (!IBAN_START.test(text)) return;
  for (const { index, 0: match } of text.matchAll(IBAN)) {
    const length = IBAN_LENGTHS[match.slice(0, 2)] ?? 0;
    let end = 0;
    let iban = "";
    for (; end < match.length && iban.length < length; end++) if (match[end] !== " ") iban += match[end];
    if (length > 0 && iban.length === length && ibanDigits(iban))
      found({ kind: "iban", start: index, end: index + end, confidence: 0.98 });
  }
}

function findNational(text: string, long: boolean, found: Found): void {
  for (const { kind, form, check, words, confidence, letters } of NATIONAL_IDS) {
    if (!long && !letters) continue;
    for (const { index, 0: match } of text.matchAll(form)) {
      if (!check(match.replace(/[ ./-]/g, "").toUpperCase())) continue;
      if (words && !words.test(text.slice(Math.max(0, index - CONTEXT), index).toLowerCase())) continue;
      found({ kind, start: index, end: index + match.length, confidence });
    }
  }
}

const IPV4 = /(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)/g;
const IPV6 = /(?<![\w:.])(?:[0-9a-fA-F]{1,4}:|:){2,7}[0-9a-fA-F]{0,4}(?![\w:])/g;
const DOTTED = /\d\.\d{1,3}\.\d/;
const COLONS = /:[\da-fA-F]{0,4}:/;
/** Networks of no particular machine: loopback, unspecified, broadcast, documentation, masks. */
const NOBODY =
  /^(?:127\.|0\.|255\.|22[4-9]\.|2[34]\d\.|169\.254\.|192\.0\.2\.|198\.51\.100\.|203\.0\.113\.)|^::1?$|^(?:fe80|ff0|2001:0?db8):/i;
const PRIVATE = /^(?:10\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.|f[cd])/i;
const ADDRESS_WORD = /\b(?:ip|host|dns|server|ping|addr|address|from)[ :=]{1,3}$/i;
const VERSION = /(?:\bv|version|release|\bbuild)[ .:=]{0,3}$/i;

function findAddresses(text: string, found: Found): void {
  const look = (form: RegExp) => {
    for (const { index, 0: match } of text.matchAll(form)) {
      if (!isIP(match) || NOBODY.test(match) || VERSION.test(text.slice(Math.max(0, index - 12), index))) continue;
      // Sections of a document, such as 1.2.3.4; names of members, such as a::b.
      if (/^\d(?:\.\d){3}$/.test(match) && !ADDRESS_WORD.test(text.slice(Math.max(0, index - 12), index))) continue;
      if (form === IPV6 && match.split(":").filter(Boolean).length < 3) continue;
      const confidence = PRIVATE.test(match) ? 0.5 : 0.7;
      found({ kind: "ip", start: index, end: index + match.length, confidence });
    }
  };
  if (DOTTED.test(text)) look(IPV4);
  if (COLONS.test(text)) look(IPV6);
}

/** Generated, not a word, a variable, a call or a placeholder. */
const looksGenerated = (key: string) =>
  /\d/.test(key) &&
  /[A-Za-z]/.test(key) &&
  !/^(?:\$|<|%|process\.|os\.|env\.|xxx|your)/i.test(key) &&
  entropy(key) >= MIN_ENTROPY;

function findSecrets(text: string, found: Found): void {
  for (const { kind, signs, form } of ANY_SIGN.test(text) ? SECRETS : []) {
    if (!signs.some((sign) => text.includes(sign))) continue;
    for (const { index, 0: match, groups } of text.matchAll(form)) {
      const key = groups?.key ?? match;
      const start = index + match.lastIndexOf(key);
      found({ kind, start, end: start + key.length, confidence: 0.95 });
    }
  }
  for (const { start, end } of privateKeys(text)) found({ kind: "private_key", start, end, confidence: 0.99 });
  if (!text.includes("=") && !text.includes(":")) return;
  for (const { index, 0: match, groups } of text.matchAll(ASSIGNED)) {
    const given = groups?.key ?? "";
    const key = given.replace(/[.!*~=]{1,4}$/, "");
    // A call or a member, not a value.
    if (/^[a-z_]\w{0,60}\.[a-z_.]/i.test(key) && text.charAt(index + match.length) !== '"') continue;
    if (key.length < 12 || !looksGenerated(key)) continue;
    const start = index + match.length - given.length;
    found({ kind: "api_key", start, end: start + key.length, confidence: 0.6 });
  }
}

/** Without overlaps: of two findings in the same place the surer one stays, then the longer one. */
function withoutOverlaps(findings: Finding[]): Finding[] {
  if (findings.length < 2) return findings;
  const kept: Finding[] = [];
  const byWorth = (a: Finding, b: Finding) => b.confidence - a.confidence || b.end - b.start - (a.end - a.start);
  findings.sort((a, b) => a.start - b.start || byWorth(a, b));
  for (const finding of findings) {
    const before = kept.at(-1);
    if (!before || before.end <= finding.start) kept.push(finding);
    else if (byWorth(finding, before) < 0) kept[kept.length - 1] = finding;
  }
  return kept;
}

/**
 * Personal data and secrets in a text, in order and without overlaps: e-mail addresses, phone numbers, IBANs, payment
 * cards, IP addresses, national numbers, keys and tokens. Names of people are not found.
 */
export function findPii(text: string): Finding[] {
  const findings: Finding[] = [];
  const found: Found = (finding) => findings.push(finding);
  findEmails(text, found);
  findSecrets(text, found);
  const long = HAS_NUMBER.test(text);
  if (TWO_DIGITS.test(text)) findNational(text, long, found);
  if (long) {
    findCards(text, found);
    findIbans(text, found);
    findPhones(text, found);
  }
  findAddresses(text, found);
  return withoutOverlaps(findings);
}
