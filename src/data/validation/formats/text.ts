/** Plain text rows, as continued pre-training reads them: `text`, perhaps with where it comes from. */
import { type RowFormat, requireText } from "./format.ts";

/**
 * Fields of public collections that say where a text comes from; the model never sees them, and that surprises nobody.
 */
const SOURCES = ["id", "meta", "metadata", "url", "source", "title", "timestamp", "date", "lang", "language"];
const FIELDS = new Set(["text", ...SOURCES]);

export const textFormat: RowFormat = {
  name: "text",
  type: "text",
  title: "plain text JSONL",
  example: '{"text": "…"}',
  fields: FIELDS,
  matches(row) {
    if (!("text" in row)) return false;
    // A text beside a class or an answer is meant for something else.
    for (const key in row) if (!FIELDS.has(key)) return false;
    return true;
  },
  convert(row, problems) {
    const text = requireText(row, "text", problems);
    if (text !== null && text.trim() === "") problems.add("empty_text", "text", text);
    if (text === null || problems.rowErrors() > 0) return null;
    return { row: { text }, same: Object.keys(row).length === 1 };
  },
};
