/** Plain text rows for continued pre-training: `text`, optionally with metadata about its source. */
import { type RowFormat, requireText } from "./format.ts";

/** Metadata fields that public text collections have. They are not used for training and cause no warning. */
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
    // A text with other fields, such as a class or an answer, has another purpose.
    for (const key in row) if (!FIELDS.has(key)) return false;
    return true;
  },
  convert(row, problems) {
    if (typeof row.text !== "string" && row.text !== undefined && row.text !== null) {
      problems.add("wrong_type", "text", row.text, "expected text");
      return null;
    }
    const text = requireText(row, "text", problems);
    if (text !== null && text.trim() === "") problems.add("empty_text", "text", text);
    if (text === null || problems.rowErrors() > 0) return null;
    return { row: { text }, same: Object.keys(row).length === 1 };
  },
};
