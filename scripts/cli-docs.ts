/** `bun run docs:cli`: generates docs/cli.md from the verbs; a test compares the file with them. */
import { join } from "node:path";
import { type Verb, verbHelp } from "../src/cli/command.ts";
import { VERBS } from "../src/cli/verbs.ts";

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
`;

function section(verb: Verb): string {
  return `## ${verb.name}\n\n\`\`\`text\n${verbHelp(verb).trimEnd()}\n\`\`\`\n`;
}

/** The whole file. */
export function cliDocs(): string {
  return [HEAD, ...VERBS.map(section)].join("\n");
}

if (import.meta.main) await Bun.write(join(import.meta.dir, "../docs/cli.md"), cliDocs());
