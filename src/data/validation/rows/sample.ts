/** Shortens any value to a sample for a report. */

const SAMPLE_CHARS = 160;

/** At most 160 characters of any value, on one line. Never throws. */
export function sampleOf(value: unknown): string {
  let text: string;
  if (typeof value === "string") text = value.slice(0, SAMPLE_CHARS * 2);
  else {
    try {
      text = value === undefined ? "" : (JSON.stringify(value) ?? "").slice(0, SAMPLE_CHARS * 2);
    } catch {
      text = "…";
    }
  }
  text = text.replace(/\p{Cc}+/gu, " ").toWellFormed();
  return text.length > SAMPLE_CHARS ? `${text.slice(0, SAMPLE_CHARS - 1).toWellFormed()}…` : text;
}
