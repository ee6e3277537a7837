/** What a base model's template and tokenizer do to rows, as message and advice, and the bounded collector. */
import type { Finding } from "../rows/report.ts";
import { sampleOf } from "../rows/sample.ts";

type Kind = Pick<Finding, "severity" | "message" | "advice">;

const TOOL_ADVICE =
  "Choose a base model whose template shows tools, such as a Qwen, or train with the chat template with tools.";

const FINDINGS = {
  template_refuses: {
    severity: "error",
    message: "The chat template refuses the row.",
    advice: "Fix the row, leave such rows out when you start the job, or choose another base model.",
  },
  not_rendered: {
    severity: "warning",
    message: "This server cannot render the row with the chat template, so its tokens are not counted.",
    advice: "The trainer renders it with another library and reports rows that fail there too.",
  },
  nothing_learned: {
    severity: "error",
    message: "The chat template shows nothing of the answer, so the answer is not learned.",
    advice: "Choose a base model whose template shows it, or train with the chat template with tools.",
  },
  content_not_shown: {
    severity: "warning",
    message: "The chat template does not show the content of a message.",
    advice: "The model neither reads nor learns it. Move it to another message, or choose another base model.",
  },
  reasoning_not_shown: {
    severity: "warning",
    message: "The chat template does not show the reasoning of an answer.",
    advice: "The reasoning is not learned. Choose a base model whose template shows it.",
  },
  tool_calls_not_shown: {
    severity: "warning",
    message: "The chat template does not show tool calls.",
    advice: TOOL_ADVICE,
  },
  tool_result_not_shown: {
    severity: "warning",
    message: "The chat template does not show tool results.",
    advice: TOOL_ADVICE,
  },
  tools_not_shown: {
    severity: "warning",
    message: "The chat template does not show tool definitions.",
    advice: TOOL_ADVICE,
  },
  name_not_shown: {
    severity: "info",
    message: "The chat template does not show the names of messages.",
    advice: "Write the name into the content if the model should know it.",
  },
  special_tokens: {
    severity: "warning",
    message: "A text contains special tokens of this base model.",
    advice:
      "A job reads them as plain text, removes them, or keeps them as control tokens: its option special_tokens decides.",
  },
  other_template: {
    severity: "warning",
    message: "A text contains marks of another model's chat template.",
    advice: "This base model reads them as plain text. Upload the conversation itself, without a template.",
  },
} as const satisfies Record<string, Kind>;

export type FindingCode = keyof typeof FINDINGS;

/** Rows listed for each kind. */
const SAMPLES = 20;

/** Creates a collector that counts rows by kind, and keeps the first 20 of each. */
export function createFindings() {
  const found = new Map<FindingCode, Finding>();
  return {
    /** Records a row; each row once for each kind. */
    add(code: FindingCode, row: number, path: string, sample: unknown, detail = "") {
      let finding = found.get(code);
      if (!finding) {
        finding = { code, ...FINDINGS[code], count: 0, samples: [] };
        found.set(code, finding);
      }
      finding.count++;
      if (finding.samples.length < SAMPLES)
        finding.samples.push({ row, path, sample: sampleOf(sample), detail: detail.slice(0, 300) });
    },
    /** Whether enough rows of a kind are listed; the rest are only counted. */
    full: (code: FindingCode) => (found.get(code)?.samples.length ?? 0) >= SAMPLES,
    /** Errors first, then by count. @param scaled the number of rows that a number of counted rows stands for */
    list(scaled: (count: number) => number): Finding[] {
      const rank = { error: 0, warning: 1, info: 2 };
      return [...found.values()]
        .map((finding) => ({
          ...finding,
          count: scaled(finding.count),
          samples: finding.samples.toSorted((a, b) => a.row - b.row),
        }))
        .sort((a, b) => rank[a.severity] - rank[b.severity] || b.count - a.count);
    },
  };
}
