/** Looks for a person in the rows of versions and in uploaded files that have no rows. Runs in a worker. */
import { join } from "node:path";
import { mergedRows } from "../storage/merged-rows.ts";
import { linesOf, parseJsonOr } from "./lines.ts";
import { contextOf, isAbout, type Wanted } from "./person-match.ts";
import { textsAt } from "./row-texts.ts";

/** A place that is searched: the folder of a version, or a file. */
interface Place {
  kind: "row" | "file_line";
  /** Id of the version or the file. */
  id: string;
  path: string;
}

export interface PersonTask {
  wanted: Wanted;
  places: Place[];
  /** File that gets a line for each hit. */
  out: string;
}

/** Something about the person. `id` counts the hits of a request; `of` and `ref` say where: version and row, … */
export interface Hit {
  id: number;
  kind: string;
  of: string;
  ref: string;
  /** Masked. */
  context: string;
}

export interface PersonOutcome {
  /** Rows with the person, by place; without the places that have none. */
  found: { id: string; rows: number }[];
  hits: number;
}

async function* rowsOf(place: Place): AsyncGenerator<{ ref: number; texts: string[] }> {
  const texts = (value: unknown) => [...textsAt(value)].map(([, text]) => text);
  if (place.kind === "row") {
    for await (const { id, line } of mergedRows(join(place.path, "train.jsonl"), join(place.path, "holdout.jsonl"))) {
      yield { ref: id, texts: texts(JSON.parse(line.toString("utf8"))) };
    }
    return;
  }
  let ref = 0;
  for await (const line of linesOf(place.path)) yield { ref: ++ref, texts: texts(parseJsonOr(line)) };
}

/** @param progress called with the rows read so far */
export async function findPerson(task: PersonTask, progress: (rows: number) => void): Promise<PersonOutcome> {
  const writer = Bun.file(task.out).writer({ highWaterMark: 1 << 20 });
  const outcome: PersonOutcome = { found: [], hits: 0 };
  let done = 0;
  try {
    for (const place of task.places) {
      let rows = 0;
      for await (const { ref, texts } of rowsOf(place)) {
        if (++done % 1000 === 0) {
          progress(done);
          await writer.flush();
        }
        if (!isAbout(texts, task.wanted)) continue;
        rows++;
        const hit: Hit = {
          id: ++outcome.hits,
          kind: place.kind,
          of: place.id,
          ref: String(ref),
          context: contextOf(texts, task.wanted),
        };
        writer.write(`${JSON.stringify(hit)}\n`);
      }
      if (rows > 0) outcome.found.push({ id: place.id, rows });
    }
  } finally {
    await writer.end();
  }
  return outcome;
}
