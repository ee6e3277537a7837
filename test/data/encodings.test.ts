/** Text that is not UTF-8, or was decoded with the wrong code page: found, offered for conversion, and converted. */
import { afterAll, describe, expect, test } from "bun:test";
import { read, removeFolder } from "./support/read-bytes.ts";

afterAll(removeFolder);

const cp1252 = Buffer.from("prompt;completion\nO\xf9 est le caf\xe9 ?;Pr\xe8s d\x92ici\n", "latin1");
const misread = JSON.stringify({ prompt: "OÃ¹ est-ce ?", completion: "PrÃ¨s dâ€™ici" });

describe("text in another encoding", () => {
  test("Windows-1252 is offered with a sample, and converted when the version accepts it", async () => {
    const refused = await read(cp1252, "a.csv");
    expect(refused).toMatchObject({ status: "failed" });
    expect(refused.error).toStartWith("The text is not UTF-8. As windows-1252 it reads");
    expect(refused.report.encoding.proposed).toEqual({
      encoding: "windows-1252",
      sample: "Où est le café ?;Près d’ici",
    });
    const converted = await read(cp1252, "a.csv", { encoding: "windows-1252" });
    expect(converted.rows[0].messages[1].content).toBe("Près d’ici");
    expect(converted.report.encoding.converted_from).toBe("windows-1252");
    expect(converted.report.encoding.proposed).toBeUndefined();
  });

  test("UTF-8 with one broken byte is not taken for another encoding", async () => {
    const text = Buffer.concat([
      Buffer.from('{"prompt": "Où? é à ü", "completion": "'),
      Buffer.from([0xe9]),
      Buffer.from('"}\n'),
    ]);
    const outcome = await read(text, "a.jsonl");
    expect(outcome.codes).toEqual(["invalid_utf8", "no_rows"]);
  });

  for (const [name, content] of [
    ["as characters", misread],
    ["as escapes", misread.replace(/\P{ASCII}/gu, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`)],
  ] as const)
    test(`wrongly decoded text ${name} is reported, and repaired when the version accepts it`, async () => {
      const found = await read(content, "a.jsonl");
      expect(found.status).toBe("ready");
      expect(found.codes).toContain("mojibake");
      if (name === "as characters") expect(found.report.encoding.repair?.meant).toContain("Où est-ce ?");
      const repaired = await read(content, "a.jsonl", { repairText: true });
      expect(repaired.rows[0].messages).toEqual([
        { role: "user", content: "Où est-ce ?" },
        { role: "assistant", content: "Près d’ici" },
      ]);
      expect(repaired.codes).not.toContain("mojibake");
    });

  test("right text that looks alike is left alone", async () => {
    const content = JSON.stringify({ prompt: "NÃO, ÂNGELA", completion: "\\u00c3\\u00a9 Ã" });
    const outcome = await read(content, "a.jsonl", { repairText: true });
    expect(outcome.rows[0].messages.map((turn: { content: string }) => turn.content)).toEqual([
      "NÃO, ÂNGELA",
      "\\u00c3\\u00a9 Ã",
    ]);
  });
});
