/** Graders to start from in the new-job form, one a type, about a field the rows have. */

const output = "{{sample.output_text}}";
/** By the type of grader; `field` is the row's field that holds what is wanted. */
const STARTS: Record<string, (field: string) => Record<string, unknown>> = {
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
        content: `How good is the answer, from 0 to 1?\nAnswer: ${output}\nRight would be: {{item.${field}}}`,
      },
    ],
  }),
  multi: (field) => ({
    type: "multi",
    name: "both",
    calculate_output: "0.7 * right + 0.3 * close",
    graders: { right: STARTS.string_check?.(field), close: STARTS.text_similarity?.(field) },
  }),
};

/** The grader of that type as text for the form; empty when there is none. */
export const startOf = (type: string, field: string): string =>
  Object.hasOwn(STARTS, type) ? JSON.stringify(STARTS[type]?.(field), null, 2) : "";
