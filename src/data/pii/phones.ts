/** Finds phone numbers: international ones, national forms of large countries, and numbers after a word for phone. */
import { type CountryCode, parsePhoneNumberFromString } from "libphonenumber-js/max";
import type { Finding } from "./kinds.ts";

interface PhoneForm {
  /** null: the number has its country. */
  country: CountryCode | null;
  form: RegExp;
  confidence: number;
}

/** How people write numbers in their country; each must also be a number that the country assigns. */
const FORMS: readonly PhoneForm[] = [
  { country: null, form: /(?<![\w+])(?:\+|00)[1-9]\d{0,3}(?:[ .()/-]{0,2}\d){6,13}(?!\d)/g, confidence: 0.9 },
  { country: "US", form: /(?<![\w.-])(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}([.-]))\d{3}[.-]\d{4}(?![\d-])/g, confidence: 0.8 },
  { country: "FR", form: /(?<![\w.-])0[1-9]([ .-])\d{2}\1\d{2}\1\d{2}\1\d{2}(?![\d-])/g, confidence: 0.85 },
  { country: "GB", form: /(?<![\w.-])\(?0(?:20|\d{4}|\d{3})\)? \d{3,4} ?\d{3,4}(?![\d-])/g, confidence: 0.75 },
  { country: "GB", form: /(?<![\w.-])07\d{3} ?\d{6}(?![\d-])/g, confidence: 0.7 },
  { country: "DE", form: /(?<![\w.-])\(?0[1-9]\d{1,4}\)? ?[/-] ?\d{3,5}[ -]?\d{2,6}(?![\d./-])/g, confidence: 0.7 },
  { country: "JP", form: /(?<![\w.-])0\d{1,3}-\d{2,4}-\d{4}(?![\d-])/g, confidence: 0.75 },
  { country: "BR", form: /(?<![\w.-])\(\d{2}\) ?9?\d{4}-\d{4}(?![\d-])/g, confidence: 0.85 },
  { country: "AU", form: /(?<![\w.-])(?:04\d{2} \d{3} \d{3}|\(0[2378]\) \d{4} \d{4})(?![\d-])/g, confidence: 0.8 },
  { country: "IN", form: /(?<![\w.-])[6-9]\d{4} \d{5}(?![\d-])/g, confidence: 0.6 },
  { country: "CN", form: /(?<![\w.-])1[3-9]\d([ -]?)\d{4}\1\d{4}(?![\d-])/g, confidence: 0.6 },
];

/** After a word for phone: any number that one of these countries assigns. */
const COUNTRIES: readonly CountryCode[] = [
  "US",
  "GB",
  "DE",
  "FR",
  "IT",
  "ES",
  "NL",
  "PL",
  "BR",
  "MX",
  "IN",
  "CN",
  "JP",
  "AU",
  "TR",
  "RU",
];
const ANY = /(?<![\w.-])\(?\d(?:[ .()/-]{0,2}\d){6,13}(?![\d-])/g;
const WORDS =
  /\b(?:phone|t[ée]l[ée]phone|telefon[oe]?|tel|mobile|cell|whatsapp|fax|call|handy|mobil|t[ée]l|m[óo]vil|celular|portable|sms)\b[^\n]{0,20}$/i;
const CONTEXT = 40;
/** A date or a range of years. */
const DATE =
  /^(?:\d{1,2}[./-]\d{1,2}[./-](?:19|20)\d{2}|(?:19|20)\d{2}[./-]\d{1,2}[./-]\d{1,2}|(?:19|20)\d{2} ?- ?(?:19|20)\d{2})/;

function isAssigned(text: string, country: CountryCode | null): boolean {
  const given = country === null ? text.replace(/^00/, "+") : text;
  return parsePhoneNumberFromString(given, country ?? undefined)?.isValid() === true;
}

/** Calls `found` for every phone number of a text. */
export function findPhones(text: string, found: (finding: Finding) => void): void {
  for (const { country, form, confidence } of FORMS)
    for (const { index, 0: match } of text.matchAll(form))
      if (!DATE.test(match) && isAssigned(match, country))
        found({ kind: "phone", start: index, end: index + match.length, confidence });
  for (const { index, 0: match } of text.matchAll(ANY)) {
    if (!WORDS.test(text.slice(Math.max(0, index - CONTEXT), index)) || DATE.test(match)) continue;
    if (COUNTRIES.some((country) => isAssigned(match, country)))
      found({ kind: "phone", start: index, end: index + match.length, confidence: 0.65 });
  }
}
