/** How the rows of a run are read: options of the job spec, and their defaults. */

/** How special tokens of the base model within texts are read: as plain text, removed, or as control tokens. */
export const SPECIAL_TOKENS = ["escape", "strip", "keep"] as const;

/** What happens to a row that the base model's chat template refuses. */
export const TEMPLATE_ERRORS = ["fail", "leave_out"] as const;

/** Whether the reasoning of answers is in the loss, or context only. */
export const REASONING_OPTIONS = ["train", "mask"] as const;

/** The chat template of a run: the base model's own, or one with tools for models of the ChatML family. */
export const CHAT_TEMPLATES = ["default", "tools"] as const;

/** How rows are read. Absent: `default`; `escape` in conversations and `keep` in plain text; `fail`; `train`. */
export interface DataSettings {
  chat_template?: (typeof CHAT_TEMPLATES)[number];
  special_tokens?: (typeof SPECIAL_TOKENS)[number];
  on_template_error?: (typeof TEMPLATE_ERRORS)[number];
  reasoning?: (typeof REASONING_OPTIONS)[number];
}

/** How the special tokens within the texts of a run are read. */
export const specialTokensOf = ({ data, dataset }: { data?: DataSettings; dataset: { row_type?: string } }) =>
  data?.special_tokens ?? (dataset.row_type === "text" ? "keep" : "escape");
