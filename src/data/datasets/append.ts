/** Streams the rows of a version with one more row at the end, as the file of a new version. */
import { open } from "node:fs/promises";
import { join } from "node:path";
import { AppError } from "../../errors.ts";
import { chatFormat } from "../validation/formats/chat.ts";
import { createProblems } from "../validation/rows/problems.ts";
import type { ChatRow } from "../validation/rows/types.ts";

const CHUNK = 1 << 18;
const LF = 10;
const BRACE = 123;
const COMMA = 44;

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

/** The lines of a file without line breaks, each in a buffer that stays valid. */
async function* linesOf(path: string): AsyncGenerator<Buffer> {
  const file = await open(path, "r");
  try {
    let rest = Buffer.alloc(0);
    for (;;) {
      const chunk = Buffer.allocUnsafe(CHUNK);
      const { bytesRead } = await file.read(chunk, 0, CHUNK);
      if (bytesRead === 0) return;
      const bytes = rest.length ? Buffer.concat([rest, chunk.subarray(0, bytesRead)]) : chunk.subarray(0, bytesRead);
      let at = 0;
      // The rest of the last chunk has no line break, so only the new bytes are searched.
      for (let stop = bytes.indexOf(LF, rest.length); stop >= 0; stop = bytes.indexOf(LF, at)) {
        yield bytes.subarray(at, stop);
        at = stop + 1;
      }
      rest = bytes.subarray(at);
    }
  } finally {
    await file.close();
  }
}

interface Numbered {
  id: number;
  /** The row without its id. */
  row: Buffer;
}

/** Splits `{"id":12,"messages":…` into 12 and `{"messages":…`. */
async function* numbered(lines: AsyncGenerator<Buffer>): AsyncGenerator<Numbered> {
  for await (const line of lines) {
    const comma = line.indexOf(COMMA);
    const id = Number(line.toString("latin1", '{"id":'.length, comma));
    line[comma] = BRACE;
    yield { id, row: line.subarray(comma) };
  }
}

/**
 * The training and validation rows of a version in the order of the original file, followed by `row`, as OpenAI chat
 * JSONL.
 * @param dir folder of a ready version
 */
export async function* rowsAnd(dir: string, row: ChatRow): AsyncGenerator<Uint8Array> {
  const end = Buffer.from("\n");
  const train = numbered(linesOf(join(dir, "train.jsonl")));
  const holdout = numbered(linesOf(join(dir, "holdout.jsonl")));
  try {
    let [a, b] = await Promise.all([train.next(), holdout.next()]);
    while (!a.done || !b.done) {
      if (!a.done && (b.done || a.value.id < b.value.id)) {
        yield a.value.row;
        a = await train.next();
      } else if (!b.done) {
        yield b.value.row;
        b = await holdout.next();
      }
      yield end;
    }
    yield Buffer.from(`${JSON.stringify(row)}\n`);
  } finally {
    await Promise.all([train.return(undefined), holdout.return(undefined)]);
  }
}
