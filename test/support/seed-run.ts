/** Curves and sample answers that look like those of a real small run; the same numbers every time. */
import type { event } from "../../src/db/schema/metrics.ts";

/** Names as people really give them: short, 80 characters long, right to left, without spaces, with markup. */
export const NAMES = [
  "support-tickets",
  "Rückfragen zur Kontoeröffnung – dritter Versuch mit gesäuberten Daten und mehr Zeilen",
  "客户支持消息分类到严格的结构化输出第二版实验",
  "تصنيف رسائل دعم العملاء",
  "Классификация обращений клиентов банка, версия с расширенной выборкой и новыми метками",
  "a_name_without_any_space_that_is_exactly_eighty_characters_long_0123456789_abcdef",
  "<script>alert('not a script')</script> & co",
  "सहायता संदेश वर्गीकरण",
  "bank-intents-r32 🏦",
  "qa-nightly",
];

/** Random numbers from 0 to 1 that are the same for the same seed (mulberry32). */
export function rng(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Every series of a run of `steps` steps, as points. */
export function curves(steps: number, seed: number): Record<string, [number, number][]> {
  const random = rng(seed);
  const all: Record<string, [number, number][]> = {};
  const add = (key: string, step: number, value: number) => {
    all[key] ??= [];
    all[key].push([step, Number(value.toPrecision(6))]);
  };
  for (let step = 1; step <= steps; step++) {
    const noise = random() - 0.5;
    const base = 2.6 * Math.exp(-step / 14) + 0.06 + seed / 100;
    add("train/loss", step, Math.max(0.01, base * (1 + noise * 0.35)));
    add("train/token_accuracy", step, Math.min(0.995, 1 - base / 3 + noise * 0.03));
    add("train/learning_rate", step, 0.001 * Math.min(1, step / 5) * (1 - step / 140));
    add("train/grad_norm", step, 0.4 + base * (1 + noise));
    add("perf/tokens_per_second", step, 187 + noise * 30);
    add("perf/step_seconds", step, 1.4 - noise * 0.2);
    add("system/memory_mb", step, 1900 + step * 0.8 + noise * 60);
    add("system/cpu_percent", step, 188 + noise * 18);
    if (step % 15 === 0) {
      add("eval/loss", step, base * 1.12 + 0.03);
      add("eval/token_accuracy", step, Math.min(0.99, 1 - base / 2.7));
    }
  }
  return all;
}

const ROWS = [
  [
    "My card was declined at the supermarket again, what is going on?",
    '{"intent":"card_declined","department":"cards","urgency":"normal"}',
  ],
  [
    "URGENT: someone took 400 euros from my account last night",
    '{"intent":"fraud","department":"security","urgency":"high"}',
  ],
  ["我想修改我的邮寄地址", '{"intent":"change_address","department":"service","urgency":"low"}'],
  ["أريد زيادة حد البطاقة من فضلك", '{"intent":"raise_limit","department":"cards","urgency":"low"}'],
] as const;

/** Answers at every checkpoint: a letter first, nearly right later, right in the end. */
export function sampleEvents(jobId: string, steps: number, now: number): (typeof event.$inferInsert)[] {
  const rows: (typeof event.$inferInsert)[] = [];
  for (const step of [45, 90, 135].filter((one) => one <= steps)) {
    for (const [n, [question, expected]] of ROWS.entries()) {
      const near = expected.replace('"normal"', '"high"').replace('"low"', '"normal"');
      const output =
        step < 60 ? "I'm sorry to hear that. Could you tell me more about it?" : step < 100 && n % 2 ? near : expected;
      const prompt = [
        { role: "system", content: "Turn the customer's message into a support ticket." },
        { role: "user", content: question },
      ];
      const number = rows.length + 1;
      rows.push({
        id: `ftevent-${jobId}${number}`,
        n: number,
        jobId,
        at: now - (steps - step) * 1400,
        type: "sample",
        message: `Sample output at step ${step}`,
        step,
        data: { row_id: n, prompt, expected, output },
      });
    }
  }
  return rows;
}

/** What became of a run, from its making to its last checkpoint. */
export function historyEvents(jobId: string, steps: number, now: number): (typeof event.$inferInsert)[] {
  const at = (step: number) => now - (steps - step) * 1400;
  const lines: [type: string, at: number, message: string][] = [
    ["state", at(0) - 12_000, `Created job: ${jobId}`],
    ["state", at(0) - 11_800, "The job started"],
    ["phase", at(0) - 11_600, "Starting the trainer: attempt 1, train"],
    ["phase", at(0) - 9000, "Loading the data"],
    ["phase", at(0) - 7000, "Loading the model"],
    ["plan", at(0) - 5000, "360 rows, 135 steps"],
    [
      "phase",
      at(0) - 4000,
      "Memory test (longest batches): 8 x 512 tokens, the longest rows, before anything is trained",
    ],
    ["canary", at(0) - 1500, "Memory test with the longest batch (8 x 512 tokens): 1840 MB peak"],
    ["phase", at(0) - 1000, "Training: 135 steps on cpu, 2 threads, bfloat16"],
    ["first_batch", at(0), "First batch verified: 8 of 8 rows match the dataset"],
    ...[45, 90, 135]
      .filter((step) => step <= steps)
      .map((step): [string, number, string] => ["checkpoint", at(step), `Checkpoint of step ${step} saved`]),
  ];
  return lines.map(([type, when, message], index) => ({
    id: `ftevent-${jobId}h${index}`,
    n: 1000 + index,
    jobId,
    at: when,
    type,
    message,
  }));
}
