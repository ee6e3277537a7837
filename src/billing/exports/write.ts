/** Writes rows as CSV, JSON Lines or Parquet, piece by piece. */
import { ByteWriter, ParquetWriter, schemaFromColumnData } from "hyparquet-writer";
import { csvField } from "../../lib/text/csv.ts";
import type { Column } from "./intervals.ts";

type Pages<Row> = AsyncIterable<readonly Row[]>;

const iso = (ms: number) => new Date(ms).toISOString().replace(".000Z", "Z");

/** The value of a cell as text formats have it. */
function plain<Row>({ type, value }: Column<Row>, row: Row): string | number | null {
  const found = value(row);
  return type === "time" && typeof found === "number" ? iso(found) : found;
}

/** CSV with a header. Texts that a spreadsheet would read as a formula begin with an apostrophe. */
export async function* asCsv<Row>(columns: readonly Column<Row>[], pages: Pages<Row>): AsyncGenerator<string> {
  yield `${columns.map(({ name }) => name).join(",")}\r\n`;
  const cell = (column: Column<Row>, row: Row) => {
    const found = plain(column, row);
    if (typeof found === "string") return csvField(found);
    return column.type === "decimal" && Number.isInteger(found) ? `${found}.0` : String(found ?? "");
  };
  for await (const rows of pages)
    yield rows.map((row) => `${columns.map((column) => cell(column, row)).join(",")}\r\n`).join("");
}

/** One JSON object a line. */
export async function* asJsonLines<Row>(columns: readonly Column<Row>[], pages: Pages<Row>): AsyncGenerator<string> {
  const lineOf = (row: Row) => JSON.stringify(Object.fromEntries(columns.map((one) => [one.name, plain(one, row)])));
  for await (const rows of pages) yield rows.map((row) => `${lineOf(row)}\n`).join("");
}

const PARQUET_TYPES = { text: "STRING", number: "DOUBLE", decimal: "DOUBLE", time: "TIMESTAMP" } as const;

/** Parquet with a row group for each page; at most one page is in memory. */
export async function* asParquet<Row>(columns: readonly Column<Row>[], pages: Pages<Row>): AsyncGenerator<Uint8Array> {
  const writer = new ByteWriter();
  const shape = columns.map(({ name, type }) => ({ name, type: PARQUET_TYPES[type], nullable: true, data: [] }));
  const file = new ParquetWriter({
    writer,
    schema: schemaFromColumnData({ columnData: shape }),
    createdBy: "finetune-lab",
  });
  const taken = () => {
    const bytes = writer.getBytes().slice();
    writer.index = 0;
    return bytes;
  };
  for await (const rows of pages) {
    const columnData = columns.map(({ name, type, value }) => ({
      name,
      data: rows.map((row) => {
        const found = value(row);
        return type === "time" && typeof found === "number" ? new Date(found) : found;
      }),
    }));
    await file.write({ columnData, rowGroupSize: Math.max(1, rows.length) });
    yield taken();
  }
  await file.finish();
  yield taken();
}
