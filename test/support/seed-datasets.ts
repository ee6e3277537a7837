/**
 * Seeded datasets with real rows on disk, checked by the same code that checks uploads: ready, with remarks, failed,
 * waiting for a mapping.
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Actor, Ctx } from "../../src/ctx.ts";
import { scanRows } from "../../src/data/pii/scan-rows.ts";
import { validateFile } from "../../src/data/validation/pass/validate.ts";
import type { TokenStats } from "../../src/data/validation/rows/report.ts";
import { dataset, datasetTokens, datasetVersion, file, piiScan } from "../../src/db/schema/datasets.ts";
import { HOUR, idOf, nameAt, seedSpec } from "./seed-rows.ts";

const EXAMPLE = resolve(import.meta.dir, "../../examples/support-messages.jsonl");
/** The rows of the example file; 400 of them, so that runs have 360 to train on. */
const example = () => readFileSync(EXAMPLE, "utf8").split("\n").filter(Boolean).slice(0, 400);

const LOOK_UP = {
  type: "function",
  function: {
    name: "look_up_card",
    description: "Finds a card by its last digits.",
    parameters: { type: "object", properties: { digits: { type: "string" } }, required: ["digits"] },
  },
};

/** What customers write of themselves, and a key that somebody pasted. */
function withContacts() {
  const messages = [
    "Please write to jane.doe@example.com or call +49 30 901820.",
    "Refund it to DE89 3704 0044 0532 0130 00, not to 4111 1111 1111 1111.",
    "My social security number is 536-90-4399, and my old address was j.smith@mail.example.org.",
    `The script has api_key = "k9Xw2QzP7mLr4TbV8nYc", is that why it fails from 8.8.113.7?`,
  ];
  return messages.map((content) => ({
    messages: [
      { role: "user", content },
      { role: "assistant", content: "Thank you. I have noted it." },
    ],
  }));
}

/** Conversations of several turns, with tools, other scripts and turns that are not learned from. */
function talks(): string[] {
  const call = { id: "call_1", type: "function", function: { name: "look_up_card", arguments: '{"digits":"4417"}' } };
  const withTool = {
    messages: [
      { role: "system", content: "You help customers of a bank. Look cards up before you speak of them." },
      { role: "user", content: "Is my card ending in 4417 blocked?" },
      { role: "assistant", content: "", tool_calls: [call] },
      { role: "tool", tool_call_id: "call_1", content: '{"status":"blocked","reason":"three wrong PINs"}' },
      { role: "assistant", content: "Yes: it was blocked after three wrong PINs. Shall I send a new PIN?" },
      { role: "user", content: "Yes, please." },
      { role: "assistant", content: "Done. The new PIN arrives by post within three days." },
    ],
    tools: [LOOK_UP],
  };
  const others = [
    ["我想修改我的邮寄地址", "好的，请告诉我您的新地址，我会立即为您更新。"],
    ["أريد زيادة حد البطاقة من فضلك", "بالتأكيد. ما الحد الذي ترغب فيه؟"],
    ["Почему перевод ещё не пришёл?", "Переводы в другой банк идут до двух рабочих дней."],
  ].map(([question, answer]) => ({
    messages: [
      { role: "user", content: question },
      { role: "assistant", content: "Hm.", weight: 0 },
      { role: "user", content: "…" },
      { role: "assistant", content: answer },
    ],
  }));
  return [withTool, ...others, ...withContacts()].map((row) => JSON.stringify(row));
}

/** What went wrong in real files, at lines that are easy to find again. */
function broken(lines: string[]): string[] {
  const bad = [...lines];
  bad[6] = '{"messages": [{"role": "user", "content": "My card was declined"}, {"role": "assistant" "content": "…"}]}';
  bad[18] = JSON.stringify({ messages: [{ role: "user", content: "Where is my refund?" }] });
  bad[40] = JSON.stringify({
    messages: [
      { role: "customer", content: "hello" },
      { role: "assistant", content: "hi" },
    ],
  });
  bad[77] = JSON.stringify({ messages: [] });
  for (let n = 100; n < 108; n++)
    bad[n] = JSON.stringify({ messages: [{ role: "user", content: `Message ${n} without an answer` }] });
  return bad;
}

const CSV_ROWS = [
  ["id", "customer wrote", "team", "ticket"],
  ["1", '"My card was declined, again"', "cards", '"{""intent"":""card_declined""}"'],
  [
    "2",
    '"I moved. How do I change my address, and what will it cost?"',
    "service",
    '"{""intent"":""change_address""}"',
  ],
];
const csv = () =>
  [CSV_ROWS[0], ...Array.from({ length: 200 }, (_, n) => CSV_ROWS[1 + (n % 2)])]
    .map((cells) => (cells ?? []).join(","))
    .join("\n");

/** Two answers to the messages of the examples: one strict JSON, one chatty; with a row whose answers are long. */
function pairs(lines: string[]): string[] {
  const long = "The fee is charged by the other bank, not by us. It is named in its list of prices. ".repeat(12);
  const rows = lines.slice(0, 180).map((line, n) => {
    const messages = (JSON.parse(line) as { messages: { role: string; content: string }[] }).messages;
    const chatty = `Sure! I think this is about ${n % 2 ? "a card" : "a transfer"}. Anything else?`;
    return {
      input: { messages: messages.slice(0, -1) },
      preferred_output: messages.slice(-1),
      non_preferred_output: [{ role: "assistant", content: n === 1 ? long : chatty }],
    };
  });
  return rows.map((row) => JSON.stringify(row));
}

/** The examples with a thumb up or down, and the same as texts. */
const marked = (lines: string[]) =>
  lines.slice(0, 120).map((line, n) => JSON.stringify({ ...JSON.parse(line), label: n % 4 !== 1 }));
const texts = (lines: string[]) =>
  lines.slice(0, 90).map((line) => {
    const { messages } = JSON.parse(line) as { messages: { content: string }[] };
    return JSON.stringify({ text: messages.map(({ content }) => content).join("\n\n") });
  });

/** The messages without their answers, and what graders are to know: the answer, and how hard it is. */
const prompts = (lines: string[]) =>
  lines.slice(0, 140).map((line, n) => {
    const { messages } = JSON.parse(line) as { messages: { content: string }[] };
    return JSON.stringify({ messages: messages.slice(0, -1), answer: messages.at(-1)?.content, level: n % 3 });
  });

type Kind = "plain" | "remarks" | "talks" | "failed" | "csv" | "validating" | "pairs" | "marked" | "texts" | "prompts";
const KINDS: readonly Kind[] = [
  ...(["plain", "remarks", "talks", "failed", "plain", "csv", "validating"] as const),
  ...(["pairs", "marked", "texts", "failed", "plain", "prompts", "validating"] as const),
];

/** The file of a dataset of one kind. */
function contentOf(kind: Kind): { name: string; text: string } {
  const lines = example();
  if (kind === "csv") return { name: "tickets.csv", text: csv() };
  if (kind === "failed") return { name: "export.jsonl", text: broken(lines).join("\n") };
  if (kind === "talks") return { name: "talks.jsonl", text: [...talks(), ...lines.slice(0, 240)].join("\n") };
  if (kind === "pairs") return { name: "answers-compared.jsonl", text: pairs(lines).join("\n") };
  if (kind === "marked") return { name: "thumbs.jsonl", text: marked(lines).join("\n") };
  if (kind === "texts") return { name: "handbook.jsonl", text: texts(lines).join("\n") };
  if (kind === "prompts") return { name: "prompts.jsonl", text: prompts(lines).join("\n") };
  if (kind === "remarks") {
    const noted = lines.slice(0, 30).map((line) => JSON.stringify({ ...JSON.parse(line), customer_id: 7 }));
    return { name: "export.jsonl", text: [...lines.slice(30), ...noted, ...lines.slice(30, 55)].join("\r\n") };
  }
  return { name: "support-messages.jsonl", text: lines.join("\n") };
}

/** Token counts as a tokenizer of about four characters a token would give them. */
function tokensLike(rows: number, meanCharacters: number): TokenStats {
  const mean = meanCharacters / 4.1 + 24;
  const histogram = Array.from({ length: 12 }, (_, n) => ({
    from: Math.round(mean * 0.6) + n * 6,
    to: Math.round(mean * 0.6) + (n + 1) * 6,
    count: Math.round(rows * 0.22 * Math.exp(-(((n - 4) / 2.6) ** 2))),
  }));
  const max = histogram.at(-1)?.to ?? 0;
  return {
    exact: true,
    rows,
    counted_rows: rows,
    tokens: Math.round(rows * mean),
    sequences: { count: rows, tokens: Math.round(rows * mean) },
    mean,
    max,
    p50: Math.round(mean),
    p95: Math.round(mean * 1.3),
    histogram,
    over: { "512": 0, "1024": 0 },
    failed_rows: 0,
    failure: null,
    refused_rows: 0,
    min: histogram[0]?.from ?? 0,
    answers: { first: 20, lost: { "512": 0, "1024": 0 } },
    findings: [],
  };
}

async function addOne(ctx: Ctx, actor: Actor, n: number, kind: Kind, at: number): Promise<void> {
  const { name, text } = contentOf(kind);
  const [fileId, versionId] = [idOf("file-", n), idOf("dsv_", n)];
  const source = ctx.files.path("files", fileId);
  const outDir = ctx.files.path("datasets", versionId);
  writeFileSync(source, text);
  const bytes = Buffer.byteLength(text);
  const task = {
    source,
    filename: name,
    outDir,
    mapping: null,
    seed: 42,
    holdoutFraction: 0.1,
    skipBad: false,
    removeDuplicates: null,
  };
  const checked = validateFile({ ...task, maxLineBytes: 1 << 24, diskReserve: 0 });
  const running = kind === "validating";
  if (running) rmSync(outDir, { recursive: true });
  const { report } = checked;
  await ctx.write(async (tx) => {
    await tx.insert(file).values({
      id: fileId,
      org: actor.org,
      filename: name,
      purpose: "fine-tune",
      bytes,
      sha256: "0".repeat(64),
      status: "processed",
      createdBy: actor.userId,
      createdAt: at,
    });
    await tx
      .insert(dataset)
      .values({ id: idOf("ds_", n), org: actor.org, name: nameAt(n), createdBy: actor.userId, createdAt: at });
    await tx.insert(datasetVersion).values({
      id: versionId,
      org: actor.org,
      datasetId: idOf("ds_", n),
      number: 1,
      fileId,
      splitSeed: 42,
      holdoutFraction: 100_000,
      createdAt: at,
      ...(running
        ? { status: "validating" as const, bytesRead: Math.round(bytes * 0.4) }
        : {
            status: checked.status,
            hash: checked.hash,
            error: checked.error,
            format: report.format,
            report,
            rowType: report.row_type,
            rows: report.rows,
            badRows: report.bad_rows,
            finishedAt: at + report.took_ms,
            trainRows: report.split.train_rows,
            holdoutRows: report.split.holdout_rows,
          }),
    });
    // One of two has token counts; for the others the seeded base model has no tokenizer on disk, and the page says so.
    if (checked.status === "ready" && !running && n % 2 === 0)
      await tx.insert(datasetTokens).values({
        id: idOf("tok_", n),
        versionId,
        baseModelId: "smollm2-135m-instruct",
        exact: true,
        createdAt: at,
        stats: tokensLike(report.split.train_rows, report.characters.mean),
      });
  });
  if (checked.status === "ready" && !running) await addScan(ctx, actor, n, at);
}

/** The scan for personal data, as the server's own would leave it. */
async function addScan(ctx: Ctx, { org }: Actor, n: number, at: number): Promise<void> {
  const versionId = idOf("dsv_", n);
  const task = { dir: ctx.files.path("datasets", versionId), presidio: null };
  const { rows: rowsDone, rowsFound, counts } = await scanRows(task, () => {});
  const found = { rowsDone, rowsFound, counts, status: "done" as const, engine: "builtin" };
  const values = { versionId, org, datasetId: idOf("ds_", n), createdAt: at, finishedAt: at };
  await ctx.write((tx) => tx.insert(piiScan).values({ ...values, ...found }));
}

/** Adds `count` datasets of all kinds in turn; the first is always a plain one of 400 rows. */
export async function addDatasets(ctx: Ctx, actor: Actor, count: number): Promise<void> {
  const now = ctx.clock.now();
  for (let n = 0; n < count; n++) await addOne(ctx, actor, n, KINDS[n % KINDS.length] ?? "plain", now - n * 5 * HOUR);
}

/** The validation rows of the data that seeded job `n` trained on, as `{prompt, expected}`. */
export function heldOut(ctx: Ctx, n: number) {
  const path = join(ctx.files.path("datasets", seedSpec(n).dataset.version_id), "holdout.jsonl");
  const lines = readFileSync(path, "utf8").split("\n").filter(Boolean);
  return lines.map((line) => {
    const { id, messages } = JSON.parse(line) as { id: number; messages: { role: string; content: string }[] };
    return { id, prompt: messages.slice(0, -1), expected: messages.at(-1)?.content ?? "" };
  });
}
