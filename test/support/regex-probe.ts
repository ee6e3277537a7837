/**
 * A process of its own that runs regular expressions on hostile texts: prints the one it begins with, then how slow it
 * was.
 */
import { type FoundRegex, hostileTexts, longTexts } from "./regexes.ts";

/**
 * Texts by their length, each with the processor time that one scan may take. Linear ones take under a millisecond for
 * 25,000 characters, quadratic ones 100.
 */
const SCANS: [texts: (source: string) => Iterable<string>, mostMs: number][] = [
  [(source) => hostileTexts(source, 2_000), 15],
  [(source) => hostileTexts(source, 25_000), 15],
  [() => longTexts(100_000), 50],
];
/** Four times the text may take about four times as long; quadratic takes sixteen. */
const MOST_GROWTH = 8;
/** What no growth excuses. */
const ALWAYS_SLOW_MS = 500;

const cpuMs = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

/** The least of a few runs: a collection of garbage or a compilation is no fault of the expression. */
function time({ source, flags }: FoundRegex, text: string, mostMs: number): number {
  const regex = new RegExp(source, flags.includes("y") || flags.includes("g") ? flags : `${flags}g`);
  let least = Number.POSITIVE_INFINITY;
  for (let run = 0; run < 3 && least > mostMs; run++) {
    const begun = cpuMs();
    if (regex.sticky) {
      regex.lastIndex = 0;
      regex.exec(text);
    } else text.replace(regex, "");
    least = Math.min(least, cpuMs() - begun);
    if (least > ALWAYS_SLOW_MS) break;
  }
  return least;
}

/** What is wrong with an expression, or null. Short texts first: a cubic one shows there already. */
function slow(regex: FoundRegex): string | null {
  for (const [texts, mostMs] of SCANS)
    for (const text of texts(regex.source)) {
      const took = time(regex, text, mostMs);
      if (took <= mostMs) continue;
      const quarter = time(regex, text.slice(0, text.length / 4) + text.slice(-2), mostMs / MOST_GROWTH);
      if (took > ALWAYS_SLOW_MS || took > MOST_GROWTH * quarter)
        return `${took.toFixed(0)} ms for ${text.length} characters (a quarter: ${quarter.toFixed(1)} ms), ${JSON.stringify(text.slice(0, 24))}… ${JSON.stringify(text.slice(-3))}`;
    }
  return null;
}

const given = (await Bun.stdin.json()) as FoundRegex[];
for (const [at, regex] of given.entries()) {
  // Without a buffer between: when this process is ended, the last line names the culprit.
  await Bun.write(Bun.stdout, `begin ${at}\n`);
  const problem = slow(regex);
  if (problem) await Bun.write(Bun.stdout, `slow ${at} ${problem}\n`);
}
await Bun.write(Bun.stdout, "done\n");
