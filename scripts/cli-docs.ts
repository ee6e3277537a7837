/** `bun run docs:cli`: generates docs/cli.md from the verbs; a test compares the file with them. */
import { join } from "node:path";
import { type Verb, verbHelp } from "../src/cli/command.ts";
import { VERBS } from "../src/cli/verbs.ts";
import examples from "./cli-examples.json";

const HEAD = `# Command line

\`finetune-lab VERB [options]\`; from a checkout: \`bun src/main.ts VERB [options]\`. Generated from the program's help by
\`bun run docs:cli\`.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | failed; standard error says what happened and what to do |
| 2 | wrong usage or a wrong setting; nothing was done |
| 3 | refused: the data directory is in use, the target already exists, the key is not valid, or the action is not allowed |
| 4 | not found: no object has this id |

Answers go to standard output, progress and logs to standard error. Options of settings override the environment
(\`FTL_…\`), which overrides \`config.json\` in the data directory; all settings are in the
[administrator guide](admin-guide.md#settings).

Verbs such as \`job\`, \`dataset\` and \`chat\` use any server by its public API. They take its address and an API key from
\`--url\` and \`--key\`, else from \`FTL_URL\` and \`FTL_API_KEY\`, else from \`finetune-lab login\`. \`--json\` prints the API's
answer, unchanged. Without a terminal, output is plain: nothing is cut, there are no colors (nor with \`NO_COLOR\`), and
nothing is asked. The examples were recorded by \`bun scripts/cli-examples.ts\` on a tiny random model, whose answers mean
nothing.
`;

const fenced = (language: string, text: string) => `\`\`\`${language}\n${text.trimEnd()}\n\`\`\`\n`;

/** The recorded example of a verb; empty when there is none. */
function exampleOf(verb: Verb): string {
  const found = examples.find((one) => one.verb === verb.name);
  return found ? `\n${fenced("sh", found.command)}\n${fenced("text", found.output)}` : "";
}

function section(verb: Verb): string {
  return `## ${verb.name}\n\n${fenced("text", verbHelp(verb))}${exampleOf(verb)}`;
}

/** The whole file. */
export function cliDocs(): string {
  return [HEAD, ...VERBS.map(section)].join("\n");
}

if (import.meta.main) await Bun.write(join(import.meta.dir, "../docs/cli.md"), cliDocs());
