/**
 * Messages are read the same way in training and serving: a dataset's row, tokenized by the trainer, and the same
 * messages in a chat request, tokenized by the built-in engine.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { splitPath } from "../../src/data/datasets/rows.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { TRAINER_ENV, trainerMissing, until } from "../support/live.ts";
import { TINY_MODEL } from "../support/tiny.ts";

const user = { role: "user", content: "what is it?" };
const answer = { role: "assistant", content: "that" };
const tool = { function: { name: "look_up", description: "d", parameters: { type: "object" } }, type: "function" };
const call = (args: unknown, extra: object = {}) => ({
  role: "assistant",
  content: null,
  tool_calls: [{ ...extra, type: "function", function: { arguments: args, name: "look_up" } }],
});
const result = (id: string, content: unknown) => ({ role: "tool", tool_call_id: id, content });
const text = (...parts: string[]) => parts.map((part) => ({ type: "text", text: part }));

/** Conversations by the form of a message that they hold. Each ends with an assistant turn, as rows of datasets do. */
const FORMS: Record<string, object[]> = {
  "a string": [user, answer],
  "one text part": [{ role: "user", content: text("what is it?") }, answer],
  "several text parts": [{ role: "user", content: text("what", "is it?\n", "\nnow") }, answer],
  "parts in an answer": [user, { role: "assistant", content: text("this", "that") }, user, answer],
  "a refusal part": [user, { role: "assistant", content: [{ type: "refusal", refusal: "no" }] }, user, answer],
  "a refusal": [user, { role: "assistant", content: null, refusal: "I cannot" }, user, answer],
  "a refusal of null": [user, { ...answer, refusal: null, annotations: [], audio: null }, user, answer],
  "a developer's turn": [{ role: "developer", content: "be brief" }, user, answer],
  "a system turn of parts": [{ role: "system", content: text("be", "brief") }, user, answer],
  "a name": [{ ...user, name: "ada" }, answer],
  "null content with calls": [user, call('{"city": "Oslo", "n": 1.0}', { id: "c1" }), result("c1", "mild"), answer],
  "arguments as an object": [
    user,
    call({ city: "Oslo", n: 2 }, { id: "c1" }),
    result("c1", text("mild", "dry")),
    answer,
  ],
  "empty arguments": [user, call("", { id: "c1", index: 0 }), result("c1", "mild"), answer],
  "content beside calls": [user, { ...call("{}", { id: "c1" }), content: "wait" }, result("c1", "mild"), answer],
  "special tokens": [{ role: "user", content: "a<|im_end|>\n<|im_start|>assistant\nb" }, answer],
  "spaces and line breaks": [
    { role: "user", content: "\n a  b \n" },
    { role: "assistant", content: "\n\nyes " },
  ],
};

/** Shows all that a template can see of a message. */
const TEMPLATE =
  "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and not m.tool_calls %}{{ m.content }}{% else %}{{ m | tojson }}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

const COMPARED = `
import json, sys
from pathlib import Path
from types import SimpleNamespace
from finetune_trainer.data.encoder import Encoder
from finetune_trainer.data.rows import read_rows
from finetune_trainer.data.tokens import IGNORED
from finetune_trainer.model.tokenizer import load_tokenizer
from finetune_trainer.serving.api.messages import chat_prompt
base, path, requests = sys.argv[1:]
tokenizer = load_tokenizer(Path(base))
found = []
for row, asked in zip(read_rows(Path(path)), json.loads(Path(requests).read_text()), strict=True):
    ((_, sequences),) = Encoder(tokenizer, "completion", {tokenizer.eos_token_id}).encode([row])
    last = sequences[-1]
    trained = [i for i, label in enumerate(last.labels.tolist()) if label != IGNORED]
    begin = next(i for i in reversed(trained) if i - 1 not in trained)
    tools = SimpleNamespace(definitions=asked["tools"]) if asked["tools"] else None
    prompt = chat_prompt({"model": "m", "messages": asked["messages"]}, tokenizer, tools)
    found.append({"trained": last.ids[:begin].tolist(), "asked": prompt, "text": tokenizer.decode(prompt)})
print(json.dumps(found))
`;

interface Compared {
  trained: number[];
  asked: number[];
  text: string;
}
let lab: TestApp;
let compared: Compared[];
const base = mkdtempSync(join(tmpdir(), "one-reading-"));

describe.skipIf(trainerMissing !== null)(`one reading${trainerMissing ? ` (skipped: ${trainerMissing})` : ""}`, () => {
  beforeAll(async () => {
    lab = await createTestApp({});
    cpSync(TINY_MODEL, base, { recursive: true });
    writeFileSync(join(base, "chat_template.jinja"), TEMPLATE);
    const rows = Object.values(FORMS).map((messages) => ({
      messages,
      ...(JSON.stringify(messages).includes("tool_calls") ? { tools: [tool] } : {}),
    }));
    const form = new FormData();
    form.set("holdout_fraction", "0");
    form.set("file", new File([rows.map((row) => JSON.stringify(row)).join("\n")], "forms.jsonl"));
    const { id } = await lab.json<{ id: string }>("POST", "/v1/datasets", { raw: form });
    const version = await until("the version", async () => {
      const { version: found } = await lab.json<{ version: { id: string; status: string; rows: number } }>(
        "GET",
        `/v1/datasets/${id}`,
      );
      return found.status === "ready" ? found : null;
    });
    expect(version.rows).toBe(rows.length);
    const requests = join(base, "requests.json");
    writeFileSync(
      requests,
      JSON.stringify(rows.map(({ messages, tools }) => ({ messages: messages.slice(0, -1), tools: tools ?? null }))),
    );
    const child = Bun.spawn(
      [join(TRAINER_ENV, "bin/python"), "-c", COMPARED, base, splitPath(lab.ctx, version.id, "train"), requests],
      { cwd: join(import.meta.dir, "../../trainer"), stdout: "pipe" },
    );
    compared = JSON.parse(await new Response(child.stdout).text());
  }, 120_000);
  afterAll(async () => {
    await lab?.close();
    rmSync(base, { recursive: true, force: true });
  });

  for (const [index, name] of Object.keys(FORMS).entries())
    test(`${name} gives the same tokens in a row and in a request`, () => {
      expect(compared[index]?.asked).toEqual(compared[index]?.trained as number[]);
    });

  test("text parts are lines, as vLLM reads them", () => {
    const parts = compared[Object.keys(FORMS).indexOf("several text parts")]?.text ?? "";
    expect(parts).toContain(JSON.stringify("what\nis it?\n\n\nnow"));
  });
});
