/** Copies the database of a libSQL server into a file, from the dump that the server makes of one moment. */
import { Database } from "bun:sqlite";
import { chmodSync, renameSync } from "node:fs";
import { parseLibsqlUrl } from "@libsql/hrana-client";
import { AppError } from "../../errors.ts";

/** Where a database on a server is. */
export interface RemoteDatabase {
  url: string;
  token: string | null;
}

const refused = (why: string, cause?: unknown) =>
  new AppError(
    "unavailable",
    "database_not_copied",
    `The database server gave no copy of the database: ${why}. The backup was not made. See "A database on a server" in docs/admin-guide.md.`,
    { cause },
  );

/** The dump as text, in pieces. */
async function openDump({ url, token }: RemoteDatabase): Promise<ReadableStream<Uint8Array>> {
  const { hranaHttpUrl, authToken } = parseLibsqlUrl(url);
  const given = token ?? authToken;
  const headers: Record<string, string> = given ? { authorization: `Bearer ${given}` } : {};
  const answer = await fetch(`${hranaHttpUrl}/dump`, { headers }).catch((cause) => {
    throw refused("it does not answer", cause);
  });
  if (!answer.ok || !answer.body) throw refused(`it answered /dump with ${answer.status}`);
  return answer.body;
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const piece of stream) {
    const parts = (rest + decoder.decode(piece, { stream: true })).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
  }
  rest += decoder.decode();
  if (rest) yield rest;
}

/**
 * Statements of the dump: each ends with a line's last `;` outside of quotes, and outside of the body of a trigger.
 * @throws AppError `database_not_copied` when its end is missing
 */
async function* statementsOf(lines: AsyncIterable<string>): AsyncGenerator<string> {
  let text: string[] = [];
  let isQuoted = false;
  for await (const line of lines) {
    text.push(line);
    // Only what is new is read: a value may have very many lines.
    if (line.split("'").length % 2 === 0) isQuoted = !isQuoted;
    const isTrigger = /^CREATE TRIGGER/i.test(text[0] ?? "");
    if (isQuoted || !(isTrigger ? /\bEND;\s*$/i : /;\s*$/).test(line)) continue;
    if (text.length === 1 && line === "COMMIT;") return;
    yield text.join("\n");
    text = [];
  }
  throw refused("the copy ended too early");
}

/**
 * Writes the database of the server to the new file `to`.
 * @throws AppError `database_not_copied`
 */
export async function copyRemoteDatabase(from: RemoteDatabase, to: string): Promise<void> {
  const database = new Database(`${to}.tmp`, { create: true });
  try {
    database.run("PRAGMA journal_mode = OFF");
    database.run("PRAGMA foreign_keys = OFF");
    database.run("BEGIN");
    for await (const statement of statementsOf(linesOf(await openDump(from))))
      if (!/^(PRAGMA|BEGIN)\b/.test(statement)) database.run(statement);
    // Who works on the database now says nothing about the copy.
    database.run("DROP TABLE IF EXISTS database_owner");
    database.run("COMMIT");
  } catch (error) {
    throw error instanceof AppError ? error : refused(`its copy cannot be read (${(error as Error).message})`, error);
  } finally {
    database.close();
  }
  chmodSync(`${to}.tmp`, 0o600);
  renameSync(`${to}.tmp`, to);
}
