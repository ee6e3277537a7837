/** The error for a file that cannot be read. */
import type { ProblemCode } from "../rows/problems.ts";
import type { Report } from "../rows/report.ts";

/** A file that cannot be read, with the sentence for the user. */
export class Unreadable extends Error {
  readonly code: ProblemCode;
  /** The parts of the file, when one has to be chosen. */
  about: Report["source"] | null = null;
  constructor(code: ProblemCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.name = "Unreadable";
    this.code = code;
  }
}
