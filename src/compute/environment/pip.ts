/**
 * Runs pip the one way this program does: every file must have a hash it was pinned with, nothing is built from source,
 * and pip sees nothing of the server's environment.
 */
import { AppError } from "../../errors.ts";
import { HASHED, type Ran, runLines } from "./python.ts";

/** What is being done, and how much of it (0 to 1; null when unknown). */
export type OnProgress = (message: string, fraction: number | null) => void;

/**
 * The command that installs requirement files whose every line has hashes.
 * @param more options such as `--no-deps`, before the files
 */
export function installCommand(python: string, files: readonly string[], more: readonly string[] = []): string[] {
  const named = files.flatMap((file) => ["-r", file]);
  return [...pipInstall(python), ...HASHED, ...more, ...named];
}

/** `pip install` without questions, and without what it says about itself. */
export function pipInstall(python: string): string[] {
  return [python, "-u", "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"];
}

/** Refused files first: whoever reads it must not take it for a network that is down. */
export function pipFailed({ lines }: Pick<Ran, "lines">): AppError {
  if (lines.some((line) => line.includes("DO NOT MATCH THE HASHES")))
    return new AppError(
      "unavailable",
      "package_refused",
      `The package index serves a file that is not the one this program was released with, so nothing of it was installed. If you use an index or a mirror of your own, compare it with PyPI. pip said: ${lines.slice(-6).join(" ")}`,
    );
  const errors = lines.filter((line) => line.startsWith("ERROR:"));
  const said = (errors.length ? errors : lines).slice(-3).join(" ");
  return new AppError(
    "unavailable",
    "pip_failed",
    `Installing the trainer's packages failed; running it again goes on where it stopped. pip said: ${said}`,
  );
}

/**
 * Runs a command of pip and turns its lines into short progress between two fractions. @throws AppError `pip_failed`,
 * `package_refused`
 */
export async function runPip(
  argv: string[],
  span: { from: number; to: number; packages: number },
  onProgress: OnProgress,
  signal?: AbortSignal,
): Promise<void> {
  const read = pipProgress(span);
  let last: [string, number] = ["Asking the package index", span.from];
  let since = performance.now();
  const timer = setInterval(
    () => onProgress(`${last[0]} (${Math.round((performance.now() - since) / 1000)} s)`, last[1]),
    5000,
  );
  const onLine = (line: string) => {
    const found = read(line);
    if (!found) return;
    last = found;
    since = performance.now();
    onProgress(...found);
  };
  try {
    onProgress(...last);
    const ran = await runLines(argv, { onLine, signal });
    signal?.throwIfAborted();
    if (ran.code !== 0) throw pipFailed(ran);
  } finally {
    clearInterval(timer);
  }
}

/**
 * Reader of pip's lines: each that says something new becomes a message and a fraction. Finding packages counts to 60%
 * of the span, unpacking them the rest.
 */
export function pipProgress(span: { from: number; to: number; packages: number }) {
  const width = span.to - span.from;
  const seen = new Set<string>();
  return (line: string): [string, number] | null => {
    const found = /^(?:Collecting|Requirement already satisfied:) ([A-Za-z0-9._-]+)/.exec(line)?.[1];
    if (found) seen.add(found.toLowerCase());
    const fraction = span.from + width * 0.6 * Math.min(1, seen.size / span.packages);
    const download = /^\s*Downloading (\S+) \(([^)]+)\)/.exec(line);
    // "torch-2.8.0-cp311-….whl" is shown without its version.
    if (download) return [`Downloading ${download[1]?.split(/-\d/, 1)[0]} (${download[2]})`, fraction];
    if (line.startsWith("Installing collected packages"))
      return [
        `Unpacking packages (${line.split(",").length})`,
        span.from + width * (line.includes("torch") ? 0.65 : 0.6),
      ];
    if (found && line.startsWith("Collecting")) return [`Found ${found}`, fraction];
    return null;
  };
}
