/** Streams the rows of a version with one more row at the end, as the file of a new version. */
import { join } from "node:path";
import { AppError } from "../../errors.ts";
import { mergedRows, withoutId } from "../storage/merged-rows.ts";
import { chatFormat } from "../validation/formats/chat.ts";
import { createProblems } from "../validation/rows/problems.ts";
import type { ChatRow } from "../validation/rows/types.ts";

const end = Buffer.from("\n");

/**
 * The canonical form of a row given as JSON.
 * @throws AppError `invalid_row` with the field of the first error
 */
export function requireRow(given: { messages: unknown; tools?: unknown }): ChatRow {
  const problems = createProblems();
  problems.at(1);
  const checked = chatFormat.convert({ ...given }, problems);
  if (checked) return checked.row;
  const first = problems.list().find((problem) => problem.severity === "error");
  const place = first?.samples[0];
  throw new AppError(
    "invalid",
    "invalid_row",
    first ? `${first.message} ${place?.detail || first.advice}` : "The row is not valid.",
    {
      param: place?.path || "messages",
    },
  );
}

/**
 * The training and validation rows of a version in the order of the original file, as JSONL without their numbers.
 * @param dir folder of a ready version
 */
export async function* rowsOnly(dir: string): AsyncGenerator<Uint8Array> {
  for await (const { line } of mergedRows(join(dir, "train.jsonl"), join(dir, "holdout.jsonl"))) {
    yield withoutId(line);
    yield end;
  }
}

/** The rows of a version, followed by `row`. */
export async function* rowsAnd(dir: string, row: ChatRow): AsyncGenerator<Uint8Array> {
  yield* rowsOnly(dir);
  yield Buffer.from(`${JSON.stringify(row)}\n`);
}

/** The rows of two versions, one after the other. */
export async function* rowsOfBoth(first: string, second: string): AsyncGenerator<Uint8Array> {
  yield* rowsOnly(first);
  yield* rowsOnly(second);
}
