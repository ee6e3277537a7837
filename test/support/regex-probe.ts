/**
 * A process of its own that runs regular expressions on hostile texts: prints the one it begins with, then how slow it
 * was.
 */
import { type FoundRegex, hostileTexts } from "./regexes.ts";

/** Processor time that one scan of the longest text may take. Linear ones take under 5 ms, quadratic ones seconds. */
const MOST_MS = 50;
/** Four times the text may take about four times as long; quadratic takes sixteen. */
const MOST_GROWTH = 8;
/** What no growth excuses. */
const ALWAYS_SLOW_MS = 500;

const cpuMs = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

/** The least of a few runs: a collection of garbage or a compilation is no fault of the expression. */
function time({ source, flags }: FoundRegex, text: string): number {
  const regex = new RegExp(source, flags.includes("y") || flags.includes("g") ? flags : `${flags}g`);
  let least = Number.POSITIVE_INFINITY;
  for (let run = 0; run < 3 && least > MOST_MS; run++) {
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
  for (const size of [2_000, 25_000, 100_000])
    for (const text of hostileTexts(regex.source, size)) {
      const took = time(regex, text);
      if (took <= MOST_MS) continue;
      const quarter = time(regex, text.slice(0, size / 4) + text.slice(-2));
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
