/** Writes CSV fields that spreadsheets read as text, not as formulas. */

/** A field that spreadsheets do not read as a formula, quoted where needed. */
export function csvField(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
