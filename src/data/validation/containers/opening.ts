/** The state while a file is opened: each step replaces the file by what it holds, in a text beside the rows. */
import { closeSync, openSync, readSync, rmSync, statSync } from "node:fs";
import { dirname } from "node:path";
import type { ValidateTask } from "../pass/task.ts";
import type { ProblemCode } from "../rows/problems.ts";
import { createOutput, type Output } from "./output.ts";
import { AS_IT_IS, type Note, type Reading, type Source } from "./source.ts";
import { Unreadable } from "./unreadable.ts";

const HEAD = 1 << 18;
/** Most names of other parts in the report. */
export const MOST_NAMES = 100;
/** Most steps of one file: two archives, a table, an encoding and columns. */
const MOST_STEPS = 7;
const MOST_UNPACKED = 64 * 1024 ** 3;

/** The steps of opening one file: each replaces the file at `path` by what it holds. */
export class Opening {
  path: string;
  filename: string;
  /** Progress in bytes of the uploaded file: unpacking is the first half of the work. */
  readonly onRead: (bytes: number) => void;
  readonly notes: Note[] = [];
  readonly about: Source["about"] = { compression: [], unpacked_bytes: null, part: null, other_parts: [] };
  container: Source["container"] = null;
  private steps = 0;

  constructor(
    readonly task: ValidateTask,
    onProgress: (bytes: number) => void,
  ) {
    this.path = task.source;
    this.filename = task.filename;
    this.onRead = (bytes) => onProgress(bytes / 2);
  }

  get reading(): Reading {
    return this.task.reading ?? AS_IT_IS;
  }

  head(): { head: Buffer; size: number } {
    return { head: headOf(this.path), size: statSync(this.path).size };
  }

  note(code: ProblemCode, detail: string) {
    this.notes.push({ code, detail });
  }

  /** Writes the next file. `packed`: its size, when an archive could be a bomb. */
  async step(filename: string, packed: number | null, write: (into: Output) => Promise<void>): Promise<void> {
    const { outDir, maxUnpackedBytes, diskReserve } = this.task;
    const path = workFile(outDir, this.steps++);
    const limits = { most: maxUnpackedBytes ?? MOST_UNPACKED, reserve: diskReserve };
    const into = createOutput(path, dirname(outDir), packed === null ? limits : { ...limits, packed });
    try {
      await write(into);
    } finally {
      into.close();
    }
    this.about.unpacked_bytes = into.bytes;
    if (this.path !== this.task.source) rmSync(this.path, { force: true });
    this.path = path;
    this.filename = filename;
  }

  /** The path of a text that is needed only within a step. */
  get aside(): string {
    return workFile(this.task.outDir, MOST_STEPS - 1);
  }

  /** The part to read, by the wish of the version, or the only one. @throws Unreadable `choose_part` */
  choose(parts: string[], what: string): string {
    const { part } = this.reading;
    const chosen = part ?? (parts.length === 1 ? parts[0] : undefined);
    this.about.other_parts = parts.filter((name) => name !== chosen).slice(0, MOST_NAMES);
    if (chosen !== undefined && parts.includes(chosen)) {
      this.about.part = chosen;
      return chosen;
    }
    const names = parts.slice(0, 10).map((name) => `"${name}"`);
    if (parts.length > names.length) names.push(`${parts.length - names.length} more`);
    const refusal = new Unreadable(
      "choose_part",
      part === null
        ? `The ${what} has several parts: ${names.join(", ")}. Choose one of them with \`part\`.`
        : `The ${what} has no part "${part}". It has ${names.join(", ") || "none"}.`,
    );
    refusal.about = this.about;
    throw refusal;
  }
}

/** The first bytes of a file. */
export function headOf(path: string): Buffer {
  const fd = openSync(path, "r");
  try {
    const head = Buffer.alloc(HEAD);
    return head.subarray(0, readSync(fd, head, 0, HEAD, 0));
  } finally {
    closeSync(fd);
  }
}

/** The path of a temporary text beside the folder of the rows. */
const workFile = (outDir: string, step: number) => `${outDir}.${step}`;

/** Deletes the temporary texts of a task. */
export function clearWork(outDir: string): void {
  for (let step = 0; step < MOST_STEPS; step++) rmSync(workFile(outDir, step), { force: true });
}
