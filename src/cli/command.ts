/** The command line framework: verbs, their arguments, and help from the same table. */
import { type ParseArgsConfig, parseArgs } from "node:util";
import type { ConfigInput } from "../config.ts";
import { AppError, type ErrorKind } from "../errors.ts";

/** Exit codes; documented in docs/cli.md. */
export const EXIT = { ok: 0, failed: 1, usage: 2, refused: 3, notFound: 4 } as const;

/** One `--name`. `value` is the placeholder in help; without it the option is a switch. */
export interface Option {
  value?: string;
  /** One letter, for `-m`. */
  short?: string;
  /** May be given several times. */
  many?: boolean;
  help: string;
}

export interface Args {
  /** Value of an option. */
  text(name: string): string | undefined;
  /** The same; throws a usage error when absent. */
  required(name: string): string;
  on(name: string): boolean;
  /** Every value of an option that may be given several times. */
  all(name: string): string[];
  /** Positional arguments. */
  words: string[];
}

export interface Verb {
  /** As typed: `serve`, `user create`. */
  name: string;
  summary: string;
  /** Positional arguments in the usage line. */
  words?: string;
  options: Record<string, Option>;
  /** Text below the options. */
  notes?: string;
  run(args: Args): Promise<number>;
}

/** A usage error: exit code 2, with a pointer to help. */
export class UsageError extends Error {
  override name = "UsageError";
}

/** Options for settings (see config.ts), shared by several verbs. */
export const CONFIG_OPTIONS = {
  data: { value: "DIR", help: "data directory (FTL_DATA_DIR; default ~/.finetune-lab)" },
  listen: { value: "HOST:PORT", help: "address to listen on (FTL_LISTEN; default 127.0.0.1:3900)" },
  "public-url": { value: "URL", help: "address that browsers use, behind a proxy (FTL_PUBLIC_URL)" },
  python: { value: "FILE", help: "Python 3.10+ that creates the trainer environment (FTL_PYTHON)" },
  torch: { value: "auto|cpu|cuda", help: "which PyTorch to install; auto installs CUDA only with an NVIDIA GPU" },
  "log-level": { value: "LEVEL", help: "debug, info, warn or error (FTL_LOG_LEVEL; default info)" },
} satisfies Record<string, Option>;

const SETTING: Record<keyof typeof CONFIG_OPTIONS, string> = {
  data: "data_dir",
  listen: "listen",
  "public-url": "public_url",
  python: "python",
  torch: "torch",
  "log-level": "log_level",
};

/** The settings given as options; `except` lists options with another meaning in this verb. */
export function configFlags(args: Args, except: string[] = []): ConfigInput {
  const found: Record<string, string> = {};
  for (const [option, setting] of Object.entries(SETTING)) {
    if (except.includes(option)) continue;
    const value = args.text(option);
    if (value !== undefined) found[setting] = value;
  }
  return found as ConfigInput;
}

/**
 * Parses the arguments of a verb.
 * @throws UsageError for unknown options, missing values, too many arguments
 */
export function readArgs(verb: Verb, argv: string[]): Args {
  const options: NonNullable<ParseArgsConfig["options"]> = { help: { type: "boolean", short: "h" } };
  for (const [name, option] of Object.entries(verb.options))
    options[name] = {
      type: option.value ? "string" : "boolean",
      ...(option.short ? { short: option.short } : {}),
      ...(option.many ? { multiple: true } : {}),
    };
  let parsed: { values: Record<string, unknown>; positionals: string[] };
  try {
    parsed = parseArgs({ args: argv, options, strict: true, allowPositionals: true });
  } catch (error) {
    // Node's advice on dashes does not help here.
    throw new UsageError((error instanceof Error ? error.message : String(error)).replace(/\. To specify .*/s, "."));
  }
  if (!verb.words && parsed.positionals.length > 0) throw new UsageError(`Unexpected "${parsed.positionals[0]}".`);
  const text = (name: string) => parsed.values[name] as string | undefined;
  return {
    text,
    required(name) {
      const value = text(name);
      if (value === undefined) throw new UsageError(`--${name} is missing.`);
      return value;
    },
    on: (name) => parsed.values[name] === true,
    all: (name) => [parsed.values[name] ?? []].flat() as string[],
    words: parsed.positionals,
  };
}

/** Help of one verb. */
export function verbHelp(verb: Verb): string {
  const rows = [...Object.entries(verb.options), ["help", { help: "this text" }] as const].map(
    ([name, option]: readonly [string, Option]) => [
      `${option.short ? `-${option.short}, ` : ""}--${name}${option.value ? ` ${option.value}` : ""}`,
      option.help,
    ],
  );
  const width = Math.max(...rows.map(([left]) => left?.length ?? 0));
  return [
    `${verb.summary}\n`,
    `Usage: finetune-lab ${verb.name} [options]${verb.words ? ` ${verb.words}` : ""}\n`,
    ...rows.map(([left, right]) => `  ${left?.padEnd(width)}  ${right}`),
    ...(verb.notes ? [`\n${verb.notes}`] : []),
    "",
  ].join("\n");
}

const REFUSALS: ReadonlySet<ErrorKind> = new Set(["conflict", "forbidden", "unauthenticated"]);

/** Exit code of an error of a service or of the API. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof UsageError) return EXIT.usage;
  if (!(error instanceof AppError)) return EXIT.failed;
  if (error.code === "config_invalid" || error.code === "config_not_json") return EXIT.usage;
  if (error.kind === "not_found") return EXIT.notFound;
  return REFUSALS.has(error.kind) ? EXIT.refused : EXIT.failed;
}
