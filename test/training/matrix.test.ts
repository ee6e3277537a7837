/**
 * The table of option combinations: server and trainer read it the same way, every rule refuses something, and every
 * option is used in a real training. `bun run matrix` runs all pairs.
 */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { type Chosen, cover, onceEach, outcomes, pairKey, pairsOf, specOf } from "../../scripts/matrix-cover.ts";
import { runAll } from "../../scripts/matrix-run.ts";
import { factsOf, RULES, refusal } from "../../src/contract/support.ts";
import { TRAINER_ENV, trainerMissing } from "../support/live.ts";

const pairs = pairsOf();
const judged = pairs.map((pair) => ({ pair, outcome: outcomes(pair) }));
const open = judged.filter(({ outcome }) => outcome.kind === "runs").map(({ pair }) => pair);
const missing = trainerMissing ? ` (skipped: ${trainerMissing})` : "";

const CHECK = `
import json, sys
from finetune_trainer.spec.parse import parse_spec
from finetune_trainer.spec.support import facts_of, refusal
for line in sys.stdin:
    facts = facts_of(parse_spec("train", json.loads(line)), "cpu")
    print(json.dumps([facts, refusal(facts)]))
`;

describe("the table of option combinations", () => {
  test.skipIf(trainerMissing !== null)(
    `is read by the trainer as by the server${missing}`,
    async () => {
      const chosen: Chosen[] = [...cover(open), ...pairs.map(([a, x, b, y]) => ({ [a]: x, [b]: y }))];
      const specs = chosen.flatMap((one) => {
        try {
          return [specOf(one)];
        } catch {
          return []; // a setting of another method is refused before there is a spec
        }
      });
      expect(specs.length).toBeGreaterThan(1000);
      const child = Bun.spawn([join(TRAINER_ENV, "bin/python"), "-c", CHECK], {
        cwd: join(import.meta.dir, "../../trainer"),
        stdout: "pipe",
        stdin: new Blob([specs.map((spec) => JSON.stringify(spec)).join("\n")]),
      });
      const answers = (await new Response(child.stdout).text()).trim().split("\n");
      expect(answers.length).toBe(specs.length);
      const refused = specs.map((spec, index) => {
        const [facts, reason] = JSON.parse(answers[index] ?? "null");
        expect(facts).toEqual(factsOf(spec));
        expect(reason).toBe(refusal(factsOf(spec))?.reason ?? null);
        return reason as string | null;
      });
      expect(new Set(refused).size).toBeGreaterThan(8);
    },
    60_000,
  );

  test("has no rule without effect", () => {
    const idle = RULES.filter(
      ({ when, reason }) =>
        Object.keys(when).length === 2 && // two options make a pair
        !when.strategy &&
        !judged.some(({ outcome }) => outcome.kind === "refused" && outcome.reason === reason),
    );
    expect(idle.map(({ reason }) => reason)).toEqual([]);
  });

  test("allows FlashAttention only with GPUs and 16 bits", () => {
    const said = (device: string, precision: string) =>
      refusal({ attention: "flash_attention_2", device, precision })?.reason ?? null;
    expect(said("cpu", "bfloat16")).toContain("GPUs only");
    expect(said("gpu", "float32")).toContain("16 bits");
    expect(said("gpu", "bfloat16")).toBeNull();
    const whole = { attention: "flash_attention_2", device: "gpu", precision: "bfloat16", adapter: "full" };
    expect(refusal(whole)?.param).toBe("attention");
  });

  test("allows every option in some combination, except those for GPUs", () => {
    const used = new Set(open.flatMap(([a, x, b, y]) => [`${a}=${x}`, `${b}=${y}`]));
    const all = new Set(pairs.flatMap(([a, x, b, y]) => [`${a}=${x}`, `${b}=${y}`]));
    expect([...all].filter((value) => !used.has(value)).sort()).toEqual([
      "attention=flash_attention_2",
      "device=gpu",
      "liger_kernel=true",
      "strategy=fsdp",
      "strategy=zero2",
      "strategy=zero3",
      "torch_compile=true",
    ]);
  });

  test.skipIf(trainerMissing !== null)(
    `each option is run${missing}`,
    async () => {
      const wanted = onceEach(open);
      expect(wanted.length).toBeGreaterThan(45);
      const runs = cover(wanted);
      expect(await runAll(runs, () => {})).toEqual([]);
      expect(new Set(wanted.map(pairKey)).size).toBe(wanted.length);
    },
    180_000,
  );
});
