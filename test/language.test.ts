/** The words of the project: American English, the field's own terms, and no phrase that reads as translated. A failure names the line and the word to use. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "..");
const files = [
  "{src,views,plugins}/**/*.{ts,tsx,js,css}",
  "{scripts,bench,examples}/**/*.{ts,py,md}",
  "test/**/*.ts",
  "trainer/**/*.{py,md}",
  "docs/**/*.md",
  "compose/**/*.md",
  "*.md",
]
  .flatMap((pattern) => [...new Bun.Glob(pattern).scanSync(ROOT)])
  .filter((path) => !/node_modules|__pycache__|^test\/language|^test\/golden\/.*json/.test(path))
  .sort();

/** Words that are not used, what to write instead, and the values that keep them because programs read them. */
const WORDS: { word: RegExp; use: string; except?: RegExp; skip?: RegExp }[] = [
  { word: /\bmend(s|ed|ing)?\b/i, use: "fix" },
  { word: /\banew\b/i, use: "again, or re-create" },
  { word: /\bwalled\b/i, use: "sandboxed, isolated" },
  { word: /\bforetold?\b/i, use: "forecast" },
  { word: /\b(told|tells?)\b/i, use: "says, reports" },
  { word: /\bparted\b/i, use: "split, separated by" },
  { word: /\bheld against\b/i, use: "checked against" },
  { word: /\b(is|are) none of\b/i, use: "is not one of" },
  { word: /\b(goes|go|went|gone|going) on from\b/i, use: "resume (a checkpoint), continue (a model)" },
  { word: /\bsigns? of life\b/i, use: "heartbeat" },
  { word: /\blast words\b/i, use: "last stderr lines" },
  { word: /\bwithout a word\b/i, use: "without reporting" },
  { word: /\bso many\b|\bfor so long\b/i, use: "a given number, for N seconds" },
  { word: /\b(lies|lie|lay|lying) (in|on|at|below|beside|there|under|outside|within)\b/i, use: "is in" },
  { word: /\b(of now|of before)\b/i, use: "current, previous" },
  { word: /\bdeeds?\b/i, use: "action" },
  { word: /\bthe road\b/i, use: "workflow" },
  { word: /\bjourneys?\b/i, use: "request trace" },
  { word: /\b(gives?|gave|giving) way\b|\bma(k|d)(e|es|ing) room\b/i, use: "preempt, release" },
  { word: /\bwishe[sd]\b/i, use: "scheduling options" },
  { word: /\bwhole weights\b|\btrained whole\b/i, use: "full fine-tuning, full model" },
  { word: /\bmarked answers?\b/i, use: "labeled preference data" },
  { word: /\b(held[- ]out|hold-out)\b/i, use: "validation rows, validation split" },
  { word: /(?<!fine-)(?<!instruction-)\btuned models?\b/i, use: "fine-tuned model" },
  { word: /\b(graphics|NVIDIA|GPU) cards?\b/i, use: "GPU" },
  { word: /\bsent ahead\b/i, use: "memory dry run" },
  { word: /\blets? go of\b/i, use: "release" },
  {
    word: /\b(organis|recognis|quantis|optimis|memoris|utilis|normalis|serialis|initialis|summaris|authoris)/i,
    use: "-iz-",
  },
  // Training data of the trainer's tests, whose tokens and losses are compared with recorded ones.
  {
    word: /\b(colour|behaviour|favour|neighbour|honour)/i,
    use: "-or",
    skip: /^trainer\/(tests|finetune_trainer\/export)\//,
  },
  { word: /\blicences?\b/i, use: "license" },
  {
    word: /\bcancell(ed|ing)\b/i,
    use: "canceled, canceling (API values stay as OpenAI spells them)",
    except: /["'`|/.]cancell(ed|ing)\b|\bcancelled["'`:]|Cancelled\w|\w(?:_|\.)cancelled/,
  },
];
/** Values in code and data that other programs read, and sentences of the example data. */
const VALUES =
  /licence_required|user_without_organisation|organisation\.create|\/organisations|"licence"|hold-?out_|"told"|I cancelled my order|Could you tell me more/g;

/** The text of a line that people read: in Markdown without code spans, so that commands and values stay as they are. */
const prose = (path: string, line: string) =>
  (path.endsWith(".md") ? line.replace(/`[^`]*`/g, "") : line).replace(VALUES, "");

const lines = files.flatMap((path) =>
  readFileSync(join(ROOT, path), "utf8")
    .split("\n")
    .map((line, at) => ({ path, at: at + 1, line, text: prose(path, line) })),
);

describe("words", () => {
  for (const { word, use, except, skip } of WORDS)
    test(`"${use}" instead of ${word.source}`, () => {
      const found = lines
        .filter(
          ({ path, text }) => path !== "CHANGELOG.md" && !skip?.test(path) && word.test(text) && !except?.test(text),
        )
        .map(({ path, at, line }) => `${path}:${at}: ${line.trim().slice(0, 110)}`);
      expect(found).toEqual([]);
    });
});

describe("line length", () => {
  test("comment lines and prose are at most 120 characters", () => {
    const comment = /^\s*(\*|\/\/|\/\*\*|#) /;
    let fenced = false;
    const found = lines
      .filter(({ path, at, line }) => {
        if (path.endsWith(".md")) {
          if (at === 1) fenced = false;
          if (/^\s*(```|~~~)/.test(line)) fenced = !fenced;
          return !fenced && line.length > 120 && !/^\s*(\||#|<|\[[^\]]+\]:)|https?:\/\/\S{60}/.test(line);
        }
        return line.length > 120 && comment.test(line) && !/https?:\/\/\S{60}/.test(line);
      })
      .map(({ path, at }) => `${path}:${at}`);
    expect(found).toEqual([]);
  });
});
