/** Presidio as a second engine: a Python process that gets texts and answers with what it found in them. */
import { type Finding, PII_KIND_NAMES, type PiiKind } from "./kinds.ts";
import program from "./presidio.py" with { type: "text" };

export interface PresidioOptions {
  /** A Python that has presidio-analyzer. */
  python: string;
  language: string;
}

/** What Presidio calls the kinds that detectors know too. Anything else is `other`. */
const ENTITIES: Record<string, PiiKind> = {
  EMAIL_ADDRESS: "email",
  PHONE_NUMBER: "phone",
  IBAN_CODE: "iban",
  CREDIT_CARD: "card",
  IP_ADDRESS: "ip",
  ES_NIF: "es_dni",
};

/** Entities that say nothing of a person. */
const IGNORED = new Set(["DATE_TIME", "URL", "UUID", "ORGANIZATION"]);

function kindOf(entity: string): PiiKind {
  const same = entity.toLowerCase();
  return ENTITIES[entity] ?? PII_KIND_NAMES.find((kind) => kind === same) ?? "other";
}

type Answer = { entity: string; start: number; end: number; score: number }[][];

/** Findings of both engines: those of the second where the first found nothing. */
export function together(first: Finding[], second: Finding[]): Finding[] {
  const added = second.filter((one) => !first.some(({ start, end }) => one.start < end && start < one.end));
  return added.length === 0 ? first : [...first, ...added].sort((a, b) => a.start - b.start);
}

/** Starts the process. Close it at the end. */
export function openPresidio({ python, language }: PresidioOptions) {
  const child = Bun.spawn([python, "-I", "-c", program, language], {
    env: {},
    stdio: ["pipe", "pipe", "pipe"],
  });
  const reader = child.stdout.getReader();
  const errors = new Response(child.stderr).text();
  let rest = Buffer.alloc(0);

  async function line(): Promise<string> {
    const parts: Uint8Array[] = [rest];
    for (;;) {
      const last = parts.at(-1) ?? rest;
      const at = last.indexOf(10);
      if (at >= 0) {
        const text = Buffer.concat([...parts.slice(0, -1), last.subarray(0, at)]).toString("utf8");
        rest = Buffer.from(last.subarray(at + 1));
        return text;
      }
      const { done, value } = await reader.read();
      if (done) throw new Error(`Presidio ended: ${(await errors).trim().slice(-400) || "without a message"}`);
      parts.push(value);
    }
  }

  return {
    /** The findings of each text. @throws Error with what Python printed, when it ended */
    async find(texts: string[]): Promise<Finding[][]> {
      if (texts.length === 0) return [];
      child.stdin.write(`${JSON.stringify(texts)}\n`);
      await child.stdin.flush();
      return (JSON.parse(await line()) as Answer).map((found) =>
        without(
          found
            .filter(({ entity }) => !IGNORED.has(entity))
            .map(({ entity, start, end, score }) => ({ kind: kindOf(entity), start, end, confidence: score })),
        ),
      );
    },
    close() {
      child.kill("SIGKILL");
    },
  };
}

/** Without findings in the same place: the surer one stays. */
function without(findings: Finding[]): Finding[] {
  const kept: Finding[] = [];
  for (const one of findings.toSorted((a, b) => b.confidence - a.confidence))
    if (!kept.some(({ start, end }) => one.start < end && start < one.end)) kept.push(one);
  return kept.sort((a, b) => a.start - b.start);
}
