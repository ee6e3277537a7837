/**
 * Everything that can be wrong with a dataset, in words for people, and the bounded collector that groups what was
 * found.
 */
import type { Problem, Report, Severity } from "./report.ts";

interface Kind {
  severity: Severity;
  message: string;
  advice: string;
}

const error = (message: string, advice: string): Kind => ({ severity: "error", message, advice });
const warning = (message: string, advice: string): Kind => ({ severity: "warning", message, advice });
const info = (message: string): Kind => ({ severity: "info", message, advice: "" });

const PROBLEMS = {
  empty_file: error("The file is empty.", "Upload a file with at least one row."),
  unknown_format: error("The format was not recognized.", "See the accepted formats in the message."),
  other_type: error(
    "The row is of another type than the first good row of the file.",
    "Put rows of each type (chat, preference, marked answers, prompts, plain text) into a file of their own.",
  ),
  not_json: error("Not valid JSON.", "Write one complete JSON object on each line."),
  broken_array: error(
    "The JSON array is broken here.",
    "Mend the brackets and commas; rows after this place may be lost.",
  ),
  not_object: error("The row is not a JSON object.", "Write each row as {…}."),
  invalid_utf8: error("Not valid UTF-8.", "Save the file as UTF-8."),
  line_too_long: error(
    "The row is longer than this server accepts.",
    "Split it, or ask the administrator to raise max_line_bytes.",
  ),
  too_nested: error("The row is nested too deeply or has too many values.", "Flatten it: at most 100 levels."),
  duplicate_key: error("A key appears twice in one object.", "Keep one of them: which one counts is not defined."),
  lone_surrogate: error("The text holds half of a surrogate pair.", "Remove the broken character (often a cut emoji)."),
  missing_field: error("A required field is missing.", "Add it."),
  wrong_type: error("The field has the wrong type.", "See the detail for what is expected."),
  no_messages: error("The conversation has no messages.", "Write at least a user and an assistant turn."),
  too_many_messages: error("The conversation has more than 2,048 messages.", "Split it."),
  unknown_role: error("Unknown role.", "Use system, developer, user, assistant or tool."),
  no_assistant: error(
    "There is no assistant turn, so there is nothing to learn.",
    "Add the answer as an assistant message.",
  ),
  nothing_to_train: error(
    "Every assistant turn has weight 0, so there is nothing to learn.",
    "Give one turn weight 1.",
  ),
  missing_content: error("The message has neither content nor tool calls.", "Write its text."),
  unsupported_content: error("Only text content can be trained on here.", "Remove images, audio and files."),
  bad_weight: error("`weight` must be 0 or 1.", "Use 0 (do not train on this turn) or 1."),
  bad_tools: error(
    "`tools` is not a list of function definitions.",
    "Use [{type: 'function', function: {name, parameters}}].",
  ),
  bad_tool_call: error(
    "A tool call is not complete.",
    "Each needs a function name and arguments as a JSON object in text.",
  ),
  no_prompt: error("There is no prompt: nothing stands before the answer.", "Add what is to be answered."),
  prompt_answered: error(
    "The prompt ends with an assistant turn, so the answers have nothing to answer.",
    "End it with a user or tool turn.",
  ),
  no_question: error("No user asks anything.", "End the messages with a user turn."),
  no_answer: error("The answer is empty, or has no assistant turn.", "Write what the assistant says."),
  answer_role: error(
    "An answer holds a turn that is neither the assistant's nor a tool's.",
    "Put what comes before the answers into the prompt, the same for both.",
  ),
  same_answers: error(
    "The preferred and the other answer are the same, so there is no preference to learn.",
    "Change one of them, or leave the row out.",
  ),
  bad_label: error(
    "The label is neither true nor false.",
    "Write true for a good answer and false for a bad one, without quotes.",
  ),
  nothing_marked: error(
    "The conversation does not end with an assistant turn, so the label marks nothing.",
    "End it with the answer that is good or bad.",
  ),
  empty_text: error("The text is empty.", "Write some text, or leave the row out."),
  wrong_columns: error(
    "The row has another number of columns than the header.",
    "Quote cells that hold the delimiter or line breaks.",
  ),
  unclosed_quote: error("A quoted cell is never closed.", "Close the quote; write a quote inside a cell twice."),
  no_rows: error("There is no usable row.", "Mend the rows named above."),
  too_few_rows: error("There are too few rows to hold some out and still train.", "Add rows, or hold none out."),
  few_rows: warning("Fewer than 10 rows.", "50 to 100 good rows are a sensible start."),
  empty_content: warning("The message is empty.", "Check that this is meant."),
  ends_without_assistant: warning(
    "The conversation does not end with an assistant turn; what follows the last one is not trained on.",
    "Check that this is meant.",
  ),
  ignored_field: warning(
    "A field is not part of the format and was left out.",
    "Check that it holds nothing the model should see.",
  ),
  weight_unused: warning(
    "`weight` 0 is left out: answers that are compared or marked count whole.",
    "Leave out the row if its answer should not count.",
  ),
  weight_ignored: warning("`weight` counts on assistant turns only.", "Remove it elsewhere."),
  tool_without_call: warning(
    "A tool result does not belong to an earlier call.",
    "Set tool_call_id to the id of the call.",
  ),
  duplicate: warning("The row equals an earlier one.", "Remove repeated rows unless you mean to weigh them more."),
  bom: info("The file begins with a byte order mark; it was skipped."),
  crlf: info("Lines end with CR LF, as on Windows; this is accepted."),
  bad_rows_left_out: info("Bad rows were left out, as asked for."),
} satisfies Record<string, Kind>;

export type ProblemCode = keyof typeof PROBLEMS;

export interface Problems {
  /** Where the next problems are: the line the row starts on. */
  at(line: number): void;
  /** Notes one occurrence; `sample` may be anything and is cut. */
  add(code: ProblemCode, path?: string, sample?: unknown, detail?: string): void;
  /** Errors noted since the last `at`. */
  rowErrors(): number;
  count(code: ProblemCode): number;
  /** Errors first, then by count. */
  list(): Problem[];
}

const SAMPLES = 10;
const SAMPLE_CHARS = 160;

/** At most 160 characters of any value, on one line, never failing on deep or odd values. */
function sampleOf(value: unknown): string {
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

/** A collector bounded by the number of codes times ten samples. */
export function createProblems(): Problems {
  const found = new Map<ProblemCode, Problem>();
  let line = 0;
  let errors = 0;
  return {
    at(next) {
      line = next;
      errors = 0;
    },
    add(code, path = "", sample = "", detail = "") {
      const kind: Kind = PROBLEMS[code];
      if (kind.severity === "error") errors++;
      let problem = found.get(code);
      if (!problem) {
        problem = { code, ...kind, count: 0, samples: [] };
        found.set(code, problem);
      }
      problem.count++;
      if (problem.samples.length < SAMPLES)
        problem.samples.push({
          line,
          path: path.slice(0, 120),
          sample: sampleOf(sample),
          detail: detail.slice(0, 300),
        });
    },
    rowErrors: () => errors,
    count: (code) => found.get(code)?.count ?? 0,
    list() {
      const rank = { error: 0, warning: 1, info: 2 };
      return [...found.values()].sort((a, b) => rank[a.severity] - rank[b.severity] || b.count - a.count);
    },
  };
}

/**
 * What failed, for a job's error message: the first three kinds of errors with the places of their first occurrences.
 */
export function failureText(report: Report): string {
  const errors = report.problems.filter((problem) => problem.severity === "error");
  const told = errors.slice(0, 3).map((problem) => {
    const places = problem.samples.slice(0, 3).map((sample) => {
      const path = sample.path ? `, ${sample.path}` : "";
      return `line ${sample.line}${path}${sample.detail ? ` (${sample.detail})` : ""}`;
    });
    const more = problem.count > places.length ? ` and ${problem.count - places.length} more` : "";
    return `${problem.message} ${places.length && problem.samples[0]?.line ? `At ${places.join("; ")}${more}.` : problem.advice}`;
  });
  return told.join(" ");
}
