/** Check digits: Luhn, ISO 7064 (modulo 97 and 11), Verhoeff, and weighted sums of national numbers. */

const at = (digits: string, index: number) => digits.charCodeAt(index) - 48;

/** The sum of digits times weights. */
export function weighted(digits: string, weights: readonly number[]): number {
  let sum = 0;
  for (const [index, weight] of weights.entries()) sum += at(digits, index) * weight;
  return sum;
}

/** Luhn (ISO/IEC 7812-1): the last digit checks the others. */
export function luhn(digits: string): boolean {
  let sum = 0;
  for (let i = 0; i < digits.length; i++) {
    const digit = at(digits, digits.length - 1 - i);
    sum += i % 2 === 0 ? digit : digit > 4 ? digit * 2 - 9 : digit * 2;
  }
  return sum % 10 === 0;
}

const MULTIPLY = [
  "0123456789",
  "1234067895",
  "2340178956",
  "3401289567",
  "4012395678",
  "5987604321",
  "6598710432",
  "7659821043",
  "8765932104",
  "9876543210",
];
const PERMUTE = [
  "0123456789",
  "1576283094",
  "5803796142",
  "8916043527",
  "9453126870",
  "4286573901",
  "2793806415",
  "7046913258",
];

/** Verhoeff (1969): the last digit checks the others. */
export function verhoeff(digits: string): boolean {
  let check = 0;
  for (let i = 0; i < digits.length; i++) {
    const permuted = Number(PERMUTE[i % 8]?.[at(digits, digits.length - 1 - i)]);
    check = Number(MULTIPLY[check]?.[permuted]);
  }
  return check === 0;
}

/** ISO 7064 modulo 11,10: the last digit checks the others. */
export function mod11_10(digits: string): boolean {
  let product = 10;
  for (let i = 0; i < digits.length - 1; i++) {
    const sum = (at(digits, i) + product) % 10 || 10;
    product = (sum * 2) % 11;
  }
  return (11 - product) % 10 === at(digits, digits.length - 1);
}

/** The remainder of a long number divided by 97; letters count as 10 to 35. */
export function mod97(text: string): number {
  let rest = 0;
  for (const letter of text) {
    const value = Number.parseInt(letter, 36);
    rest = (rest * (value > 9 ? 100 : 10) + value) % 97;
  }
  return rest;
}

/** True for an IBAN without spaces whose check digits are right (ISO 13616). Its length is not checked. */
export const ibanDigits = (text: string): boolean => mod97(text.slice(4) + text.slice(0, 4)) === 1;

/** Digits of a payment card: known first digits and length, and a valid check digit. */
export function isCard(digits: string): boolean {
  return (
    /^(?:4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|3[0689]\d{12}|6[0245]\d{14})$/.test(digits) &&
    luhn(digits)
  );
}

/** True when month and day exist; the year is not checked. */
export const isDay = (month: number, day: number): boolean => month >= 1 && month <= 12 && day >= 1 && day <= 31;
