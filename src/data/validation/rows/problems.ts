/** Every problem that validation reports, as message and advice, and the bounded collector that groups them by kind. */
import type { Problem, Report, Severity } from "./report.ts";
import { sampleOf } from "./sample.ts";

interface Kind {
  severity: Severity;
  message: string;
  advice: string;
}

const error = (message: string, advice: string): Kind => ({ severity: "error", message, advice });
const warning = (message: string, advice: string): Kind => ({ severity: "warning", message, advice });
const info = (message: string): Kind => ({ severity: "info", message, advice: "" });

export const PROBLEMS = {
  empty_file: error("The file is empty.", "Upload a file with at least one row."),
  unknown_format: error(
    "The format was not recognized.",
    "Use one of the accepted formats; the Datasets page shows an example of each.",
  ),
  other_type: error(
    "The row type differs from that of most rows.",
    "Upload each row type (chat, preference, labeled preference, prompts, plain text) as a separate file.",
  ),
  not_json: error("Invalid JSON.", "Write each row as one complete JSON object."),
  broken_array: error(
    "The JSON array is malformed.",
    "Fix the brackets and commas. Rows after this point may not have been read.",
  ),
  not_object: error("The row is not a JSON object.", "Write each row as {…}."),
  invalid_utf8: error("Invalid UTF-8.", "Save the file with UTF-8 encoding."),
  line_too_long: error(
    "The row exceeds this server's size limit.",
    "Split it, or ask the administrator to raise max_line_bytes.",
  ),
  too_nested: error(
    "The row is nested too deeply or has too many values.",
    "Flatten it to at most 100 levels and 200,000 values.",
  ),
  duplicate_key: error("An object has the same key twice.", "Keep one: JSON does not define which value applies."),
  lone_surrogate: error(
    "The text contains half of a surrogate pair.",
    "Remove the broken character. It is often an emoji that was cut in two.",
  ),
  missing_field: error("A required field is missing.", "Add the field."),
  unread_field: error(
    "A field that changes what a row means is not mapped.",
    "Map it, or list it as unused, on the page of the dataset.",
  ),
  same_scores: error("All answers have the same score, so there is no preference to learn.", "Remove the row."),
  bad_scores: error("The scores do not fit the answers.", "Give each answer one number."),
  duplicate_id: error("Two rows have the same id.", "Give each row an id of its own."),
  threads_too_large: error(
    "The conversations of the file are too large to be put together.",
    "Split the file by conversations, or put each conversation into one row.",
  ),
  lost_parent: error("The row refers to a row that the file does not have.", "Add the parent row, or clear the field."),
  wrong_type: error("A field has the wrong type.", "The details show the expected type."),
  no_messages: error("The conversation has no messages.", "Add at least one user and one assistant message."),
  too_many_messages: error("The conversation has more than 2,048 messages.", "Split it into several rows."),
  unknown_role: error("Unknown role.", "Use system, developer, user, assistant or tool."),
  no_assistant: error(
    "The conversation has no assistant message, so there is nothing to learn.",
    "Add the expected answer as an assistant message.",
  ),
  nothing_to_train: error(
    "Every assistant message has weight 0 (or a flag of that meaning), so there is nothing to learn.",
    "Set weight 1 on at least one assistant message.",
  ),
  missing_content: error("The message has neither content nor tool calls.", "Add the content of the message."),
  unsupported_content: error(
    "A content part has a type that is not read.",
    "Use text parts. The sample names the type; images, audio and files are not supported.",
  ),
  bad_weight: error(
    "A flag that keeps a message out of the loss is not understood.",
    "Use `weight` 1 to train on the message, or 0 to leave it out of the loss. `train` and `masked` take true or false.",
  ),
  bad_tools: error(
    "`tools` is not a valid list of function definitions.",
    "Use [{type: 'function', function: {name, parameters}}].",
  ),
  bad_tool_call: error(
    "A tool call is incomplete.",
    "Give each tool call a function name, and its arguments as a string that holds a JSON object.",
  ),
  no_prompt: error("The row has no prompt.", "Add the messages that the answer replies to."),
  prompt_answered: error(
    "The prompt ends with an assistant message.",
    "End the prompt with a user or tool message. The answer comes after it.",
  ),
  no_question: error("The prompt has no user message.", "End the messages with a user message."),
  no_answer: error("The answer is empty or has no assistant message.", "Add the assistant's answer."),
  answer_role: error(
    "An answer contains a message that is neither from the assistant nor from a tool.",
    "Move the messages before the answers into the prompt, which both answers share.",
  ),
  same_answers: error(
    "The chosen and the rejected answer are identical, so there is no preference to learn.",
    "Change one of them, or remove the row.",
  ),
  bad_label: error(
    "The label is not a Boolean.",
    "Use true for a good answer and false for a bad one, without quotes.",
  ),
  nothing_marked: error(
    "The conversation does not end with an assistant message, so the label has no answer to rate.",
    "End the conversation with the answer that the label rates.",
  ),
  empty_text: error("The text is empty.", "Add text, or remove the row."),
  escaped_quote: error('A quote in a cell is written as \\", which ends the cell in CSV.', 'Double it instead: "".'),
  wrong_columns: error(
    "The number of columns differs from the header.",
    "Quote cells that contain the delimiter or line breaks.",
  ),
  unclosed_quote: error(
    "A quoted cell is not closed.",
    "Close the quote. Inside a quoted cell, write each quote as two quotes.",
  ),
  most_rows_bad: error(
    "More than half of the rows would be left out.",
    'Check whether the file was read as you expect. To leave the rows out anyway, confirm it (API: skip_bad "any").',
  ),
  nothing_to_grade: error(
    "The prompt has no field that a grader could use.",
    "Add one, such as `answer`. Ids, dates and sources do not count.",
  ),
  no_rows: error("The file has no usable rows.", "Fix the errors in this report."),
  too_few_rows: error("There are too few rows for a validation split.", "Add rows, or set the validation split to 0."),
  few_rows: warning("The dataset has fewer than 10 rows.", "50 to 100 good rows are a sensible start."),
  empty_content: warning("The message is empty.", "Check that this is intended."),
  ends_without_assistant: warning(
    "The conversation does not end with an assistant message. Messages after the last one were left out.",
    "Check that this is intended.",
  ),
  ignored_field: warning("An unknown field was ignored.", "Check that it contains nothing the model should see."),
  weight_unused: warning(
    "`weight` 0 has no effect in preference data: every answer counts fully.",
    "Remove the row if its answer should not count.",
  ),
  weight_ignored: warning("`weight` applies to assistant messages only.", "Remove it from other messages."),
  unanswered: warning("Messages that nobody answered were left out.", "Check that this is intended."),
  tool_without_call: warning(
    "A tool result does not match an earlier tool call.",
    "Set tool_call_id to the id of the call.",
  ),
  duplicate: warning("Duplicate row.", "Remove repeated rows, unless they should count more than once."),
  card_number: warning(
    "The row contains a payment card number.",
    "Remove or replace it: a fine-tuned model can repeat what it was trained on.",
  ),
  iban: warning(
    "The row contains a bank account number (IBAN).",
    "Remove or replace it: a fine-tuned model can repeat what it was trained on.",
  ),
  email_address: warning(
    "The row contains an e-mail address.",
    "Replace it, unless the person agreed to its use: a fine-tuned model can repeat what it was trained on.",
  ),
  secret_key: warning(
    "The row contains a key or another secret.",
    "Revoke the key, and remove it from the row: a fine-tuned model can repeat what it was trained on.",
  ),
  near_duplicate: warning(
    "Near-duplicate row: the same answer to nearly the same prompt.",
    "Remove near duplicates, unless the small differences matter.",
  ),
  prompts_shared: warning(
    "Too many rows have the same prompt, so training and validation rows share prompts.",
    "Scores on the validation split look better than they are. Upload a validation file with other prompts.",
  ),
  duplicate_removed: info("Duplicate rows were removed, as requested."),
  expands_too_far: error("The file is too large unpacked.", "Split it, or upload the data file itself."),
  damaged_file: error("The file is damaged or incomplete.", "Write or download it again."),
  wrong_file: error("The file holds no rows.", "Upload the data as JSONL, JSON, CSV, Parquet, Arrow or .xlsx."),
  choose_part: error("The file has several parts.", "Choose the part to read (`part`)."),
  parts_left_out: warning("The file has other parts, which were left out.", "Choose another part with `part`."),
  duplicate_column: warning(
    "Two columns have the same name; only the first one is read.",
    "Rename one of them if both are needed.",
  ),
  mojibake: warning(
    "The text was decoded with the wrong code page somewhere before this upload.",
    "Accept the repair (`repair_text`), or export the file again as UTF-8.",
  ),
  other_encoding: warning(
    "The text is not UTF-8; it reads as another encoding.",
    "Accept the conversion (`encoding`), or save the file as UTF-8.",
  ),
  unpacked: info("The file was unpacked."),
  table_read: info("The rows of the table were read."),
  encoding_converted: info("The text was converted to UTF-8."),
  text_repaired: info("Text decoded with the wrong code page was repaired."),
  text_rows: info("The file is plain text, so its parts are rows for continued pre-training."),
  rows_in_object: info("The rows were read from a list inside one JSON object."),
  columns_turned: info("The file is one object of columns or of rows by name; its rows were put together from it."),
  lists_read: info("Each line is a list of turns, which was read as the messages of a row."),
  objects_in_sequence: info(
    "The file is a sequence of JSON objects that are not one a line. They were read one by one.",
  ),
  trailing_comma: info("A comma before the closing ] was skipped."),
  cr_lines: info("Lines end with CR, as on old Macs. This is accepted."),
  bom_inside: info("Byte order marks inside the file were skipped, as files joined together have."),
  sep_line: info("The first line names the delimiter (sep=). It was followed."),
  bom: info("The file starts with a byte order mark, which was skipped."),
  crlf: info("Lines end with CRLF, as on Windows. This is accepted."),
  read_as: info("The fields of the file were recognized. Check the rows before training."),
  turns_read: info("Turns of another chat format were read: roles, fields or parts have other names there."),
  number_as_text: info("Numbers and Booleans were read as text."),
  prompt_repeated: info("The answers begin with the prompt; it was taken off."),
  scores_swapped: info("The scores contradict chosen and rejected. The answer with the better score was chosen."),
  best_and_worst: info("Of several scored answers, the best and the worst became the pair."),
  branch_chosen: info("The export has more than one version of the conversation. One of them was read."),
  threads: info("Rows that refer to each other became conversations."),
  null_padding: info(
    "Null was removed from tool definitions and tool calls: the schema does not allow it, or every call has the same keys.",
  ),
  bad_rows_left_out: info("Bad rows were left out, as requested."),
} satisfies Record<string, Kind>;

export type ProblemCode = keyof typeof PROBLEMS;

export interface Problems {
  /** Starts a row: problems that follow are on `line`, the line on which the row starts. */
  at(line: number): void;
  /** Records one occurrence. `sample` may be any value and is shortened. */
  add(code: ProblemCode, path?: string, sample?: unknown, detail?: string): void;
  /** The line of the current row. */
  line(): number;
  /** Forgets the warnings and notes of the current row: nobody has to act on a row that is left out. */
  keepErrors(): void;
  /** Errors recorded since the last `at`. */
  rowErrors(): number;
  count(code: ProblemCode): number;
  /** Errors first, then by count. */
  list(): Problem[];
}

const SAMPLES = 10;
/** Creates a collector. It keeps at most ten samples per code. */
export function createProblems(): Problems {
  const found = new Map<ProblemCode, Problem>();
  /** The row in which a code was counted last. */
  const counted = new Map<ProblemCode, number>();
  let row = 0;
  let line = 0;
  let errors = 0;
  /** What the current row added to warnings and notes. */
  let mild: { code: ProblemCode; problem: Problem; counted: boolean; sampled: boolean }[] = [];
  return {
    at(next) {
      row++;
      line = next;
      errors = 0;
      if (mild.length > 0) mild = [];
    },
    keepErrors() {
      for (const { code, problem, counted, sampled } of mild) {
        if (counted) problem.count--;
        // Samples are in the order of rows: those of the current row are the last.
        if (sampled) problem.samples.pop();
        if (problem.count === 0) found.delete(code);
      }
      mild = [];
    },
    add(code, path = "", sample = "", detail = "") {
      const kind: Kind = PROBLEMS[code];
      if (kind.severity === "error") errors++;
      let problem = found.get(code);
      if (!problem) {
        problem = { code, ...kind, count: 0, samples: [] };
        found.set(code, problem);
      }
      const first = counted.get(code) !== row;
      const sampled = problem.samples.length < SAMPLES;
      if (first) problem.count++;
      counted.set(code, row);
      if (kind.severity !== "error") mild.push({ code, problem, counted: first, sampled });
      if (sampled)
        problem.samples.push({
          line,
          path: path.slice(0, 120),
          sample: sampleOf(typeof sample === "function" ? sample() : sample),
          detail: detail.slice(0, 300),
        });
    },
    line: () => line,
    rowErrors: () => errors,
    count: (code) => found.get(code)?.count ?? 0,
    list() {
      const rank = { error: 0, warning: 1, info: 2 };
      return [...found.values()].sort((a, b) => rank[a.severity] - rank[b.severity] || b.count - a.count);
    },
  };
}

/** The error message of a failed validation: the first three kinds of errors, each with its first places. */
export function failureText(report: Report): string {
  const errors = report.problems.filter((problem) => problem.severity === "error");
  const sentences = errors.slice(0, 3).map((problem) => {
    const places = problem.samples.slice(0, 3).map((sample) => {
      const path = sample.path ? `, ${sample.path}` : "";
      return `line ${sample.line}${path}${sample.detail ? ` (${sample.detail})` : ""}`;
    });
    const more = problem.count - new Set(problem.samples.slice(0, 3).map((sample) => sample.line)).size;
    return `${problem.message} ${places.length && problem.samples[0]?.line ? `At ${places.join("; ")}${more > 0 ? ` and ${more} more` : ""}.` : problem.advice}`;
  });
  return sentences.join(" ");
}
