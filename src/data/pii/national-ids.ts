/**
 * National numbers of people: the form of each, and how it is checked. A number whose form and check digit many other
 * numbers have needs a word near it that names it.
 */
import { isDay, luhn, mod11_10, mod97, verhoeff, weighted } from "./checksums.ts";
import type { NationalKind } from "./kinds.ts";

interface NationalId {
  kind: NationalKind;
  /** Matches with `g`; the whole match is the number, with its separators. */
  form: RegExp;
  /** It has few digits in a row, so that a text without long numbers is searched too. */
  letters?: true;
  /** Given the number without separators, in upper case. */
  check: (number: string) => boolean;
  /** Words of which one must stand shortly before the number; null when the form and check are enough. */
  words: RegExp | null;
  confidence: number;
}

const digit = (text: string, index: number) => text.charCodeAt(index) - 48;
const last = (text: string) => digit(text, text.length - 1);
const number = (text: string, from: number, to: number) => Number(text.slice(from, to));
const repeats = (digits: string) => digits.split(digits.charAt(0)).length === digits.length + 1;

/** Area, group and serial number that the Social Security Administration assigns. */
function isSsn(digits: string): boolean {
  const area = number(digits, 0, 3);
  if (area === 0 || area === 666 || area >= 900 || number(digits, 3, 5) === 0 || number(digits, 5, 9) === 0)
    return false;
  return !["078051120", "219099999", "123456789"].includes(digits) && !repeats(digits);
}

/** One digit appears two or three times among the first ten, at most one other digit is missing more than that. */
function isGermanTaxId(digits: string): boolean {
  if (digits.startsWith("0") || !mod11_10(digits)) return false;
  const counts = Array.from({ length: 10 }, (_, each) => digits.slice(0, 10).split(String(each)).length - 1);
  return counts.filter((count) => count > 1).length === 1 && Math.max(...counts) <= 3;
}

/** The weights 7, 3, 1 of machine-readable documents (ICAO 9303). */
function isGermanCard(text: string): boolean {
  let sum = 0;
  for (let i = 0; i < 9; i++) sum += Number.parseInt(text.charAt(i), 36) * ([7, 3, 1][i % 3] ?? 0);
  return sum % 10 === last(text);
}

const DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE";
const isDni = (text: string) => DNI_LETTERS[number(text, 0, 8) % 23] === text.charAt(8);
const isNie = (text: string) => isDni("XYZ".indexOf(text.charAt(0)) + text.slice(1));

const ODD = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
function isFiscalCode(text: string): boolean {
  let sum = 0;
  for (let i = 0; i < 15; i++) {
    const value = Number.parseInt(text.charAt(i), 36);
    const index = value > 9 ? value - 10 : value;
    sum += i % 2 === 0 ? (ODD[index] ?? 0) : index;
  }
  return text.charCodeAt(15) - 65 === sum % 26;
}

/** The key is 97 less the number modulo 97; Corsica's departments 2A and 2B count as 19 and 18. */
function isNir(text: string): boolean {
  const month = number(text, 3, 5);
  if ((month < 1 || month > 12) && (month < 20 || month > 42) && (month < 50 || month > 99)) return false;
  return 97 - mod97(text.slice(0, 13).replace("2A", "19").replace("2B", "18")) === number(text, 13, 15);
}

function isPesel(digits: string): boolean {
  const month = number(digits, 2, 4) % 20;
  return (
    isDay(month, number(digits, 4, 6)) &&
    (10 - (weighted(digits, [1, 3, 7, 9, 1, 3, 7, 9, 1, 3]) % 10)) % 10 === last(digits)
  );
}

/** Two check digits, each from the digits before it. */
function checkedTwice(digits: string, first: readonly number[], second: readonly number[]): boolean {
  const check = (weights: readonly number[]) => {
    const rest = weighted(digits, weights) % 11;
    return rest < 2 ? 0 : 11 - rest;
  };
  const at = first.length;
  return !repeats(digits) && check(first) === digit(digits, at) && check(second) === digit(digits, at + 1);
}
const isCpf = (digits: string) => checkedTwice(digits, [10, 9, 8, 7, 6, 5, 4, 3, 2], [11, 10, 9, 8, 7, 6, 5, 4, 3, 2]);
const isCnpj = (digits: string) =>
  checkedTwice(digits, [5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2], [6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2]);

/** GB 11643: a date of birth, and a check digit modulo 11. */
function isChinese(text: string): boolean {
  const year = number(text, 6, 10);
  if (year < 1900 || year > 2100 || !isDay(number(text, 10, 12), number(text, 12, 14))) return false;
  const sum = weighted(text, [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]);
  return "10X98765432"[sum % 11] === text.charAt(17);
}

function isMyNumber(digits: string): boolean {
  const rest = weighted(digits, [6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
  return !repeats(digits) && (rest <= 1 ? 0 : 11 - rest) === last(digits);
}

function isKorean(digits: string): boolean {
  return (
    isDay(number(digits, 2, 4), number(digits, 4, 6)) &&
    (11 - (weighted(digits, [2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5]) % 11)) % 10 === last(digits)
  );
}

function isTurkish(digits: string): boolean {
  const [a, b] = [weighted(digits, [7, 0, 7, 0, 7, 0, 7, 0, 7]), weighted(digits, [0, 1, 0, 1, 0, 1, 0, 1])];
  return (((a - b) % 10) + 10) % 10 === digit(digits, 9) && weighted(digits, Array(10).fill(1)) % 10 === last(digits);
}

function isNhs(digits: string): boolean {
  const check = 11 - (weighted(digits, [10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11);
  return !repeats(digits) && check !== 10 && check % 11 === last(digits);
}

const CURP = "0123456789ABCDEFGHIJKLMNÑOPQRSTUVWXYZ";
function isCurp(text: string): boolean {
  if (!isDay(number(text, 6, 8), number(text, 8, 10))) return false;
  let sum = 0;
  for (let i = 0; i < 17; i++) sum += CURP.indexOf(text.charAt(i)) * (18 - i);
  return (10 - (sum % 10)) % 10 === last(text);
}

/** Every number, by country. */
export const NATIONAL_IDS: readonly NationalId[] = [
  {
    kind: "us_ssn",
    form: /(?<![\d-])\d{3}([- ])\d{2}\1\d{4}(?![\d-])/g,
    check: isSsn,
    words: null,
    confidence: 0.85,
  },
  {
    kind: "us_ssn",
    form: /(?<!\d)\d{9}(?!\d)/g,
    check: isSsn,
    words: /\bssn\b|social security/,
    confidence: 0.8,
  },
  {
    kind: "us_itin",
    form: /(?<![\d-])9\d{2}-(?:5\d|6[0-5]|7\d|8[0-8]|9[0-24-9])-\d{4}(?![\d-])/g,
    check: () => true,
    words: null,
    confidence: 0.8,
  },
  {
    kind: "uk_nino",
    letters: true,
    form: /\b(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b/g,
    check: () => true,
    words: null,
    confidence: 0.85,
  },
  {
    kind: "uk_nhs",
    form: /(?<!\d)\d{3}([ -]?)\d{3}\1\d{4}(?!\d)/g,
    check: isNhs,
    words: /\bnhs\b/,
    confidence: 0.9,
  },
  {
    kind: "de_tax_id",
    form: /(?<!\d)\d{2} ?\d{3} ?\d{3} ?\d{3}(?!\d)/g,
    check: isGermanTaxId,
    words: /steuer|\bidnr|\bidentifikationsnummer|tax id|\btin\b/,
    confidence: 0.9,
  },
  {
    kind: "de_id_card",
    letters: true,
    form: /\b[CFGHJKLMNPRTVWXYZ][CFGHJKLMNPRTVWXYZ0-9]{8}\d\b/g,
    check: isGermanCard,
    words: /ausweis|identity card|id card|\bpass\b|reisepass|passport/,
    confidence: 0.85,
  },
  {
    kind: "fr_nir",
    form: /(?<!\d)[12] ?\d{2} ?\d{2} ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}(?!\d)/g,
    check: isNir,
    words: null,
    confidence: 0.95,
  },
  {
    kind: "it_fiscal_code",
    letters: true,
    form: /\b[A-Z]{6}[0-9LMNP-V]{2}[A-EHLMPRST][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z]\b/gi,
    check: isFiscalCode,
    words: null,
    confidence: 0.95,
  },
  { kind: "es_dni", form: /\b\d{8}[- ]?[A-HJ-NP-TV-Z]\b/g, check: isDni, words: null, confidence: 0.85 },
  { kind: "es_nie", form: /\b[XYZ][- ]?\d{7}[- ]?[A-HJ-NP-TV-Z]\b/g, check: isNie, words: null, confidence: 0.95 },
  {
    kind: "nl_bsn",
    form: /(?<!\d)\d{9}(?!\d)/g,
    check: (digits) => !repeats(digits) && weighted(digits, [9, 8, 7, 6, 5, 4, 3, 2, -1]) % 11 === 0,
    words: /\bbsn\b|burgerservice|sofinummer/,
    confidence: 0.9,
  },
  {
    kind: "pl_pesel",
    form: /(?<!\d)\d{11}(?!\d)/g,
    check: isPesel,
    words: /\bpesel\b/,
    confidence: 0.95,
  },
  {
    kind: "in_aadhaar",
    form: /(?<![\d-])[2-9]\d{3}([ -])\d{4}\1\d{4}(?![ -]?\d)/g,
    check: verhoeff,
    words: null,
    confidence: 0.75,
  },
  { kind: "in_aadhaar", form: /(?<!\d)[2-9]\d{11}(?!\d)/g, check: verhoeff, words: /aadh?aar|uidai/, confidence: 0.95 },
  {
    kind: "in_pan",
    letters: true,
    form: /\b[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]\b/g,
    check: () => true,
    words: /\bpan\b|permanent account|income tax/,
    confidence: 0.85,
  },
  {
    kind: "br_cpf",
    form: /(?<!\d)\d{3}\.\d{3}\.\d{3}-\d{2}(?!\d)/g,
    check: isCpf,
    words: null,
    confidence: 0.95,
  },
  { kind: "br_cpf", form: /(?<!\d)\d{11}(?!\d)/g, check: isCpf, words: /\bcpf\b/, confidence: 0.95 },
  {
    kind: "br_cnpj",
    form: /(?<!\d)\d{2}\.\d{3}\.\d{3}\/\d{4}-\d{2}(?!\d)/g,
    check: isCnpj,
    words: null,
    confidence: 0.95,
  },
  { kind: "cn_resident_id", form: /(?<!\d)[1-8]\d{16}[\dXx](?!\w)/g, check: isChinese, words: null, confidence: 0.95 },
  {
    kind: "jp_my_number",
    form: /(?<!\d)\d{4}([ -]?)\d{4}\1\d{4}(?!\d)/g,
    check: isMyNumber,
    words: /my ?number|マイナンバー|個人番号/,
    confidence: 0.9,
  },
  { kind: "kr_rrn", form: /(?<!\d)\d{6}-[1-8]\d{6}(?!\d)/g, check: isKorean, words: null, confidence: 0.95 },
  {
    kind: "ca_sin",
    form: /(?<!\d)[1-79]\d{2}([ -]?)\d{3}\1\d{3}(?!\d)/g,
    check: luhn,
    words: /\bsin\b|social insurance|\bnas\b|assurance sociale/,
    confidence: 0.9,
  },
  {
    kind: "au_tfn",
    form: /(?<!\d)\d{3} ?\d{3} ?\d{3}(?!\d)/g,
    check: (digits) => !repeats(digits) && weighted(digits, [1, 4, 3, 7, 5, 8, 6, 9, 10]) % 11 === 0,
    words: /\btfn\b|tax file/,
    confidence: 0.9,
  },
  {
    kind: "mx_curp",
    form: /\b[A-Z][AEIOUX][A-Z]{2}\d{6}[HMX][A-Z]{2}[B-DF-HJ-NP-TV-Z]{3}[A-Z\d]\d\b/g,
    check: isCurp,
    words: null,
    confidence: 0.95,
  },
  {
    kind: "tr_id",
    form: /(?<!\d)[1-9]\d{10}(?!\d)/g,
    check: isTurkish,
    words: /kimlik|\btckn\b|\bt\.?c\.? ?no/,
    confidence: 0.95,
  },
  {
    kind: "za_id",
    form: /(?<!\d)\d{10}[01]\d{2}(?!\d)/g,
    check: (digits) => isDay(number(digits, 2, 4), number(digits, 4, 6)) && luhn(digits),
    words: /\bid\b|identity|\bza\b|south afric/,
    confidence: 0.85,
  },
];
