/**
 * Repairs text that older builds stored as invalid UTF-8 (lone surrogates), which ends the process when the driver
 * reads it. Runs once.
 */
import type { Client } from "@libsql/client";
import { wellFormedJson } from "../lib/text/well-formed.ts";

/** The row of `installation` that records the time of the repair (milliseconds since 1970). */
const DONE = "text_repaired_at";
/** Rows repaired at a time, in one transaction. */
const PAGE = 500;
/**
 * Lone surrogates as UTF-8 would encode them: 0xED, then 0xA0 to 0xBF. Valid text never contains these two bytes in
 * sequence.
 */
const HALVES = Array.from({ length: 32 }, (_, n) => `x'ED${(0xa0 + n).toString(16).toUpperCase()}'`);
/**
 * JSON columns that SQL reads, where an escaped lone surrogate is as harmful. Without `audit_log.detail`: its bytes are
 * hashed, and only `JSON.parse` reads it.
 */
const JSON_COLUMNS = new Set([
  "artifact.metrics",
  "artifact.files",
  "attempt.offer",
  "attempt.handle",
  "base_model.files",
  "base_model.architecture",
  "checkpoint.metrics",
  "dataset_version.mapping",
  "dataset_version.report",
  "dataset_tokens.stats",
  "evaluation.result",
  "answer.prompt",
  "event.data",
  "job.spec",
  "job.request",
  "job.metadata",
  "job.window",
  "job.progress",
  "job.result",
  "job.error",
  "sweep.request",
  "trial.values",
  "trial.rungs",
  "trial.decisions",
]);

const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`;

/** SQL that is true for values to repair. The first `instr` decides for nearly every row. */
function isBroken(column: string, isJson: boolean): string {
  const bytes = `cast(${column} as blob)`;
  const halves = HALVES.map((half) => `instr(${bytes}, ${half})`).join(" or ");
  const raw = `(instr(${bytes}, x'ED') and (${halves}))`;
  return isJson ? `(${raw} or instr(${column}, '\\ud'))` : raw;
}

/** The intended text of `bytes`: each lone surrogate becomes one U+FFFD. */
function repaired(bytes: Uint8Array): string {
  const whole = Buffer.from(bytes);
  for (let at = whole.indexOf(0xed); at >= 0; at = whole.indexOf(0xed, at + 1))
    if ((whole[at + 1] ?? 0) >= 0xa0) whole.set([0xef, 0xbf, 0xbd], at);
  return whole.toString("utf8");
}

async function repairColumn(client: Client, table: string, column: string): Promise<number> {
  const isJson = JSON_COLUMNS.has(`${table}.${column}`);
  const [from, at] = [quoted(table), quoted(column)];
  let count = 0;
  let after = -1;
  for (;;) {
    const { rows } = await client.execute({
      sql: `select rowid as n, cast(${at} as blob) as bytes from ${from}
        where rowid > ? and typeof(${at}) = 'text' and ${isBroken(at, isJson)} order by rowid limit ${PAGE}`,
      args: [after],
    });
    const changes = rows.map((row) => {
      after = Number(row.n);
      const text = repaired(new Uint8Array(row.bytes as ArrayBuffer));
      return {
        sql: `update ${from} set ${at} = ? where rowid = ?`,
        args: [isJson ? wellFormedJson(text) : text, after],
      };
    });
    if (changes.length > 0) await client.batch(changes, "write");
    count += changes.length;
    if (rows.length < PAGE) return count;
  }
}

/**
 * Checks every text column once in the life of a database; tables without rowid are younger than the repair. After an
 * interruption it begins again at the next start.
 * @returns how many values were repaired; null when the repair was already done
 */
export async function repairText(client: Client): Promise<number | null> {
  const done = await client.execute({ sql: "select 1 from installation where key = ?", args: [DONE] });
  if (done.rows.length > 0) return null;
  const { rows: columns } = await client.execute(`
    select m.name as "table", c.name as "column" from sqlite_master m, pragma_table_info(m.name) c
    where m.type = 'table' and substr(m.name, 1, 7) <> 'sqlite_' and lower(c.type) = 'text'
      and not exists (select 1 from pragma_table_list(m.name) t where t.wr)`);
  let count = 0;
  for (const { table, column } of columns) count += await repairColumn(client, String(table), String(column));
  await skipRepair(client);
  return count;
}

/** Records that there is nothing to repair: in a new database, or after the repair. */
export async function skipRepair(client: Client): Promise<void> {
  const args = [DONE, String(Date.now())];
  await client.execute({ sql: "insert into installation (key, value) values (?, ?)", args });
}
