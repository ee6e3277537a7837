/** Grader templates for forms, one per type, that use a field of the rows. */

/** Type, label and what it returns. */
export const GRADER_TEMPLATES = [
  ["string_check", "String check", "1 or 0"],
  ["text_similarity", "Text similarity", "0 to 1"],
  ["python", "Python", "your own code"],
  ["score_model", "Score model", "a score by a model"],
  ["multi", "Several graders", "combined by a formula"],
] as const;

const output = "{{sample.output_text}}";
/** By grader type; `field` is the row field with the expected answer. */
const TEMPLATES: Record<string, (field: string) => Record<string, unknown>> = {
  string_check: (field) => ({
    type: "string_check",
    name: "right",
    operation: "ilike",
    input: output,
    reference: `{{item.${field}}}`,
  }),
  text_similarity: (field) => ({
    type: "text_similarity",
    name: "close",
    evaluation_metric: "fuzzy_match",
    input: output,
    reference: `{{item.${field}}}`,
  }),
  python: (field) => ({
    type: "python",
    name: "own",
    source: `def grade(sample, item):\n    return 1.0 if str(item["${field}"]) in sample["output_text"] else 0.0\n`,
  }),
  score_model: (field) => ({
    type: "score_model",
    name: "judge",
    model: "smollm2-135m-instruct",
    range: [0, 1],
    input: [
      {
        role: "user",
        content: `How good is the answer, from 0 to 1?\nAnswer: ${output}\nExpected: {{item.${field}}}`,
      },
    ],
  }),
  multi: (field) => ({
    type: "multi",
    name: "both",
    calculate_output: "0.7 * right + 0.3 * close",
    graders: { right: TEMPLATES.string_check?.(field), close: TEMPLATES.text_similarity?.(field) },
  }),
};

/** The template of a grader type as JSON text; empty for unknown types. */
export const graderTemplate = (type: string, field: string): string =>
  Object.hasOwn(TEMPLATES, type) ? JSON.stringify(TEMPLATES[type]?.(field), null, 2) : "";
