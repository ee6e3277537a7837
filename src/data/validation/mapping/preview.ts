/** Reads the sample rows of a report by a mapping, to show what it would make of them. */
import { mappedFormat } from "../formats/mapped.ts";
import { createProblems, type Problems } from "../rows/problems.ts";
import type { Reading } from "../rows/report.ts";
import type { Row } from "../rows/types.ts";
import { columnsOf } from "./columns.ts";
import { fieldsOf, incomplete, type Mapping } from "./model.ts";

const ROWS = 3;

/** A row as the mapping reads it; without a row, the errors say why. */
interface PreviewRow {
  /** Its number in the file, from 1, without blank lines. */
  number: number;
  row: Row | null;
  /** Messages of the problems, with the field. */
  problems: string[];
}

export interface Preview {
  /** Why the mapping cannot read the file; null when it can. */
  error: string | null;
  rows: PreviewRow[];
}

const textsOf = (problems: Problems) =>
  problems
    .list()
    .map(
      ({ message, samples: [one] }) =>
        `${one?.path ? `${one.path}: ` : ""}${message}${one?.detail ? ` ${one.detail}` : ""}`,
    );

/** What the mapping makes of the first three rows. */
export function previewOf(reading: Reading, mapping: Mapping): Preview {
  const known = new Set(
    [...columnsOf(reading.rows), ...columnsOf(reading.rows, true), ...reading.columns].map(({ name }) => name),
  );
  const unknown = fieldsOf(mapping).find((name) => !known.has(name));
  const error = unknown === undefined ? incomplete(mapping) : `there is no field "${unknown}"`;
  if (error) return { error: `The mapping is not complete: ${error}.`, rows: [] };
  const format = mappedFormat(mapping, reading.columns, false);
  const rows: PreviewRow[] = [];
  for (const [index, row] of reading.rows.entries()) {
    const problems = createProblems();
    problems.at(index + 1);
    const checked = format.convert(row, problems);
    if (!checked?.later) rows.push({ number: index + 1, row: checked?.row ?? null, problems: textsOf(problems) });
  }
  const problems = createProblems();
  for (const checked of format.threads?.finish(problems) ?? [])
    if (checked) rows.push({ number: problems.line(), row: checked.row, problems: [] });
  return { error: null, rows: rows.slice(0, ROWS) };
}
