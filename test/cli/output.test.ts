/** Tables of the client's verbs: widths, columns left out, colors, and control characters of texts. */
import { afterEach, describe, expect, test } from "bun:test";
import { type Column, fields, oneLine, plainLines, table } from "../../src/cli/client/output.ts";

interface Row {
  id: string;
  name: string;
  state: string;
  at: string;
}
const COLUMNS: Column<Row>[] = [
  { title: "ID", value: (row) => row.id },
  { title: "NAME", value: (row) => row.name, flexible: true },
  { title: "STATE", value: (row) => row.state },
  { title: "CREATED", value: (row) => row.at, optional: true },
];
const ROWS: Row[] = [
  { id: "job-1", name: "a name of some length for a table", state: "succeeded", at: "2026-11-29 23:04" },
  { id: "job-2", name: "漢字漢字漢字漢字漢字漢字", state: "failed", at: "" },
];
const plain = (text: string) => Bun.stripANSI(text);
const widest = (text: string) =>
  Math.max(
    ...plain(text)
      .split("\n")
      .map((line) => Bun.stringWidth(line)),
  );

describe("a table", () => {
  const before = process.env.NO_COLOR;
  afterEach(() => {
    if (before === undefined) delete process.env.NO_COLOR;
    else process.env.NO_COLOR = before;
  });

  test("without a terminal is not cut and has no color", () => {
    expect(table(COLUMNS, ROWS, { columns: 20 })).toBe(
      [
        "ID     NAME                               STATE      CREATED",
        "job-1  a name of some length for a table  succeeded  2026-11-29 23:04",
        "job-2  漢字漢字漢字漢字漢字漢字           failed     -",
        "",
      ].join("\n"),
    );
  });

  test.each([100, 70, 60, 50, 45, 40, 35, 30])("fits a terminal of %d columns, and never cuts ids", (columns) => {
    const text = table(COLUMNS, ROWS, { isTTY: true, columns });
    expect(widest(text)).toBeLessThanOrEqual(columns);
    expect(text).toContain("job-1");
    expect(plain(text).includes("CREATED")).toBe(columns >= 46);
  });

  test("colors states on a terminal only, and not with NO_COLOR", () => {
    delete process.env.NO_COLOR;
    expect(table(COLUMNS, ROWS, { isTTY: true, columns: 100 })).toContain("\u001b[32msucceeded\u001b[0m");
    expect(table(COLUMNS, ROWS, { isTTY: true, columns: 100 })).toContain("\u001b[31mfailed   \u001b[0m");
    process.env.NO_COLOR = "1";
    expect(table(COLUMNS, ROWS, { isTTY: true, columns: 100 })).not.toContain("\u001b");
  });
});

test("texts of the server cannot move the cursor, change colors or the direction of text", () => {
  expect(oneLine(" a\u001b[31mb\nc\u202Ed\te ")).toBe("a [31mb c d e");
  expect(plainLines("a\u001b[2Jb\n\tc\u202E\r")).toBe("a[2Jb\n\tc");
  expect(
    fields(
      [
        ["Name", "x\ny"],
        ["Empty", null],
      ],
      {},
    ),
  ).toBe("Name  x y\n");
});
