/** `completion`: scripts that complete verbs and options in bash, zsh and fish, made from the list of verbs. */
import { EXIT, UsageError, type Verb } from "../command.ts";

/** Words that may follow the words typed so far: verbs for `""`, their second words, and the options of each verb. */
function followers(verbs: readonly Verb[]): Map<string, string[]> {
  const found = new Map<string, Set<string>>([["", new Set()]]);
  const add = (before: string, words: string[]) => {
    const known = found.get(before) ?? new Set();
    for (const word of words) known.add(word);
    found.set(before, known);
  };
  for (const { name, options } of verbs) {
    const [first = "", second] = name.split(" ");
    add("", [first]);
    if (second) add(first, [second]);
    add(name, [...Object.keys(options).map((option) => `--${option}`), "--help"]);
  }
  return new Map([...found].map(([before, words]) => [before, [...words]]));
}

/** `case` branches that set `words`, longest verbs first; both shells read them. */
function branches(verbs: readonly Verb[]): string {
  return [...followers(verbs)]
    .sort(([a], [b]) => b.length - a.length)
    .map(([before, words]) => `    ${before ? `"${before}"|"${before} "*` : '""'}) words="${words.join(" ")}" ;;`)
    .join("\n");
}

const bash = (verbs: readonly Verb[]) => `_finetune_lab() {
  local words="" line="\${COMP_WORDS[*]:1:COMP_CWORD-1}"
  case "$line" in
${branches(verbs)}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _finetune_lab finetune-lab
`;

const zsh = (verbs: readonly Verb[]) => `#compdef finetune-lab
_finetune_lab() {
  local words_before="\${(j: :)words[2,CURRENT-1]}" found=""
  case "$words_before" in
${branches(verbs).replaceAll('words="', 'found="')}
  esac
  compadd -- \${=found}
  _files
}
compdef _finetune_lab finetune-lab
`;

function fish(verbs: readonly Verb[]): string {
  const summaryOf = (name: string) =>
    (verbs.find((verb) => verb.name === name)?.summary ?? "").split("\n")[0]?.replaceAll("'", "\\'") ?? "";
  const lines = [...followers(verbs)].flatMap(([before, words]) => {
    const when = before
      ? `string match -qr '^finetune-lab ${before}( |$)' -- (commandline -cp)`
      : "__fish_use_subcommand";
    return words.map((word) =>
      word.startsWith("--")
        ? `complete -c finetune-lab -n "${when}" -l ${word.slice(2)}`
        : `complete -c finetune-lab -n "${when}" -a ${word} -d '${summaryOf(`${before} ${word}`.trim())}'`,
    );
  });
  return `${lines.join("\n")}\n`;
}

const SHELLS: Record<string, (verbs: readonly Verb[]) => string> = { bash, zsh, fish };

/** The verb; `verbs` is the whole list, read when it runs. */
export const completion = (verbs: () => readonly Verb[]): Verb => ({
  name: "completion",
  summary: "Prints a script that completes verbs and options in your shell.",
  words: "bash|zsh|fish",
  options: {},
  notes: [
    "bash: finetune-lab completion bash > ~/.local/share/bash-completion/completions/finetune-lab",
    "zsh:  finetune-lab completion zsh > ~/.zfunc/_finetune-lab   (with ~/.zfunc in fpath)",
    "fish: finetune-lab completion fish > ~/.config/fish/completions/finetune-lab.fish",
  ].join("\n"),
  async run(args) {
    const script = SHELLS[args.words[0] ?? ""];
    if (!script || args.words.length > 1) throw new UsageError("Give one shell: bash, zsh or fish.");
    process.stdout.write(script(verbs()));
    return EXIT.ok;
  },
});
