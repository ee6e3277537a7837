/** Parses the verb, runs it, and turns errors into one line and an exit code. */
import { VERSION } from "../assets.ts";
import { AppError } from "../errors.ts";
import { clean } from "../lib/text/redact.ts";
import { EXIT, exitCodeOf, readArgs, UsageError, type Verb, verbHelp } from "./command.ts";
import { VERB_GROUPS, VERBS } from "./verbs.ts";

function generalHelp(): string {
  const width = Math.max(...VERBS.map((verb) => verb.name.length));
  return [
    `Fine-Tune Lab ${VERSION}: fine-tune, test and serve language models on your own machines.\n`,
    "Usage: finetune-lab VERB [options]\n",
    ...VERB_GROUPS.flatMap(({ title, verbs }) => [
      `${title}:`,
      ...verbs.map((verb) => `  ${verb.name.padEnd(width)}  ${verb.summary.split("\n")[0]}`),
      "",
    ]),
    "`finetune-lab VERB --help` shows its options; `--version` prints the version.",
    "Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 refused (in use, locked, not allowed), 4 not found.\n",
  ].join("\n");
}

/** Help of the verbs that begin with the same word. */
function groupHelp(word: string, verbs: readonly Verb[]): string {
  const width = Math.max(...verbs.map((verb) => verb.name.length));
  const rows = verbs.map((verb) => `  ${verb.name.padEnd(width)}  ${verb.summary}\n`);
  return `Usage: finetune-lab ${word} VERB [options]\n\n${rows.join("")}\nfinetune-lab ${word} VERB --help shows its options.\n`;
}

/** The verb with the most words that `argv` begins with. */
function findVerb(argv: string[]): { verb: Verb; rest: string[] } | null {
  for (const length of [2, 1]) {
    const name = argv.slice(0, length).join(" ");
    const verb = VERBS.find((each) => each.name === name);
    if (verb) return { verb, rest: argv.slice(length) };
  }
  return null;
}

async function main(argv: string[]): Promise<number> {
  const first = argv[0];
  if (first === undefined || first === "--help" || first === "-h" || first === "help") {
    process.stdout.write(generalHelp());
    return first === undefined ? EXIT.usage : EXIT.ok;
  }
  if (first === "--version" || first === "-v") {
    process.stdout.write(`${VERSION}\n`);
    return EXIT.ok;
  }
  const found = findVerb(argv);
  if (!found) {
    const group = VERBS.filter((verb) => verb.name.startsWith(`${first} `));
    if (group.length === 0) throw new UsageError(`There is no verb "${first}".`);
    const text = groupHelp(first, group);
    const asked = argv.length === 2 && ["--help", "-h"].includes(argv[1] ?? "");
    (asked ? process.stdout : process.stderr).write(text);
    return asked ? EXIT.ok : EXIT.usage;
  }
  if (found.rest.some((word) => word === "--help" || word === "-h")) {
    process.stdout.write(verbHelp(found.verb));
    return EXIT.ok;
  }
  return found.verb.run(readArgs(found.verb, found.rest));
}

/** Runs the program with its arguments and sets the exit code of the process. */
export async function runCommandLine(argv: string[]): Promise<void> {
  // The reader of the output may stop early (`| head`): that is not an error.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit(EXIT.ok);
  });
  try {
    process.exitCode = await main(argv);
  } catch (error) {
    if (error instanceof UsageError) process.stderr.write(`${error.message}\nSee finetune-lab --help.\n`);
    else if (error instanceof AppError) process.stderr.write(`${clean(error.message)}\n`);
    else process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.exitCode = exitCodeOf(error);
  }
}
