/** The data directory: all paths are built here from ids, never from names that a client sent. */
import { mkdirSync } from "node:fs";
import { join, resolve, sep } from "node:path";

/** Folders of the data directory and their contents. */
const FOLDERS = {
  /** Uploaded files, unchanged: `files/<file id>`. */
  files: "files",
  /** Parts of multi-part uploads: `uploads/<upload id>/<part id>`. */
  uploads: "uploads",
  /** Canonical rows: `datasets/<version id>/{train,holdout}.jsonl` and their line index. */
  datasets: "datasets",
  /** Base models: `models/<model id>/`. */
  models: "models",
  /** Checkpoints, adapters, exports: `artifacts/<artifact id>/`. */
  artifacts: "artifacts",
  /** State of the embedded process provider: `process/<key>/`. */
  process: "process",
  /** Python environments, by hash. */
  environments: "environments",
  /** Unpacked trainer sources, by hash. */
  trainer: "trainer",
  /** Sockets and other files of one run of the server. */
  run: "run",
  /** Third-party provider plugins. */
  plugins: "plugins",
  /** Hits of searches for a person: `subjects/<request id>.jsonl`. */
  subjects: "subjects",
  backups: "backups",
  /** Archives of users and organizations: `archives/<archive id>`. */
  archives: "archives",
  tmp: "tmp",
} as const;

export interface Files {
  root: string;
  /** A path inside a folder. Segments must be plain names: letters, digits, `.`, `_`, `-`, and not `.` or `..`. */
  path(folder: keyof typeof FOLDERS, ...segments: string[]): string;
}

const SEGMENT = /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,200}$/;

/** True when `text` is allowed as a path segment. */
export function isSafeSegment(text: string): boolean {
  return SEGMENT.test(text);
}

/**
 * Creates the folders (mode 0700).
 * @returns the function that builds paths
 */
export function openFiles(root: string): Files {
  const base = resolve(root);
  for (const folder of Object.values(FOLDERS)) mkdirSync(join(base, folder), { recursive: true, mode: 0o700 });
  return {
    root: base,
    path(folder, ...segments) {
      for (const segment of segments) if (!isSafeSegment(segment)) throw new Error(`unsafe path segment in ${folder}`);
      const full = join(base, FOLDERS[folder], ...segments);
      if (!full.startsWith(join(base, FOLDERS[folder]))) throw new Error(`path leaves ${folder}${sep}`);
      return full;
    },
  };
}
