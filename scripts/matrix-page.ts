/** The support matrix as a table on the terminal and as a page of the docs. */
import { OPTIONS, RULES } from "../src/contract/support.ts";
import type { Outcome } from "./matrix-cover.ts";

type Judged = ReadonlyMap<string, Outcome>;

/** Counts of a value's pairs by outcome. */
function countsOf(judged: Judged, option: string, value: string | boolean) {
  const mine = [...judged].filter(([key]) => key.split(" ").includes(`${option}=${value}`)).map(([, one]) => one.kind);
  const of = (kind: Outcome["kind"]) => mine.filter((one) => one === kind).length;
  return { runs: of("runs"), refused: of("refused"), elsewhere: of("elsewhere") };
}

const lines = (judged: Judged) =>
  Object.entries(OPTIONS).flatMap(([option, values]) =>
    values.map((value) => ({ name: `${option}=${value}`, ...countsOf(judged, option, value) })),
  );

/** One line per value: pairs that were run, refused, and left to machines with GPUs. */
export function table(judged: Judged): string {
  const rows = lines(judged).map(
    ({ name, runs, refused, elsewhere }) =>
      `${name.padEnd(34)}${String(runs).padStart(5)} run ${String(refused).padStart(5)} refused ${String(elsewhere).padStart(5)} on GPUs`,
  );
  const reasons = new Map<string, string[]>();
  for (const [key, one] of judged)
    if (one.kind === "refused") reasons.set(one.reason, [...(reasons.get(one.reason) ?? []), key]);
  const why = [...reasons].map(([reason, keys]) => `  ${String(keys.length).padStart(4)}  ${reason}`);
  return [...rows, "", "Refused, by reason:", ...why].join("\n");
}

/** The page `docs/support-matrix.md`. */
export function page(judged: Judged, trainings: number): string {
  const all = [...judged.values()];
  const of = (kind: Outcome["kind"]) => all.filter((one) => one.kind === kind).length;
  const rules = RULES.map(
    ({ when, reason }) =>
      `| ${Object.entries(when)
        .map(([option, values]) => `\`${option}\` ${values.join(", ")}`)
        .join("; ")} | ${reason} |`,
  );
  const counts = lines(judged).map(
    ({ name, runs, refused, elsewhere }) => `| \`${name}\` | ${runs} | ${refused} | ${elsewhere} |`,
  );
  return `# What goes together

Which training options can be combined. The form, the API and the trainer read one table, \`trainer/finetune_trainer/spec/support.json\`; what it does not
refuse is meant to work, and \`bun run matrix\` shows it: every pair of options is part of a real training of a tiny model on a processor, or is refused with a reason.
It exits with 1 when a pair that should run fails. This page is written by \`bun run matrix --write\`.

${all.length} pairs of options: ${of("runs")} were run (in ${trainings} trainings, each of which has many pairs in it), ${of("refused")} are refused, ${of("elsewhere")} need GPUs and were not run here.

## What is refused

| options | why |
|---|---|
${rules.join("\n")}

Settings that only some methods know (\`loss\`, \`beta\` and others) are refused with the other methods.

## Pairs by option

| option | run | refused | need GPUs |
|---|---|---|---|
${counts.join("\n")}
`;
}
