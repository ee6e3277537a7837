/**
 * The client of a libSQL server. It keeps streams (connections of the server to the database) open, because a new one
 * reads the whole schema: five times the work of a small statement. A transaction whose connection breaks is never
 * stored in part, and a commit without an answer is looked up.
 */
import {
  type Client,
  createClient,
  type InArgs,
  type InStatement,
  type ResultSet,
  type Transaction,
} from "@libsql/client";
import { BatchCond, openHttp, parseLibsqlUrl, type RowsResult, Stmt, type Stream } from "@libsql/hrana-client";
import { continues, isLost, isTaken, remoteError, unknownOutcome, unreachable } from "./remote-errors.ts";

/** Statements at once; more wait. */
const LANES = 16;
/** The server closes a stream that was idle for 10 seconds. */
const IDLE_MS = 5000;
/** For one answer; and while the server does not answer at all, when nobody should wait for it. */
const ANSWER_MS = 20_000;
const DOWN_ANSWER_MS = 2000;
const DOWN_MS = 1000;
const PAUSE_MS = 25;
/** The server undoes a transaction whose client is gone after 5 seconds; until then no other one begins. */
const PATIENCE_MS = 8000;
const SETTLE_MS = 10_000;
/** A read keeps nobody waiting behind it. */
const READ_PATIENCE_MS = 2000;

/** Marks the transactions of this process, so that a commit without an answer can be looked up. */
export interface Marks {
  /** The statement that begins a transaction, and what `find` answers once it is committed. */
  next(): { statement: { sql: string; args: (string | number)[] }; mark: number };
  /** The statement that reads the last committed mark. */
  find: { sql: string; args: (string | number)[] };
  /** Called when the statement of `next` changed no row: the database is no longer this process's. */
  lost(): Error;
}

export interface RemoteOptions {
  /** For the server to accept a statement: while it restarts, or while another transaction has the database. */
  patienceMs?: number;
  /** For the outcome of a commit without an answer. */
  settleMs?: number;
  marks?: Marks | null;
}

type Given = InStatement | string;

/** SQLite keeps whole characters only: half of a surrogate pair arrives as U+FFFD. */
const argument = (value: unknown): unknown => {
  if (value === undefined)
    throw new TypeError("undefined cannot be sent to the database; null can: a value is missing");
  return typeof value === "string" ? value.toWellFormed() : value;
};

function statementOf(given: Given, more?: InArgs): Stmt {
  const { sql, args } = typeof given === "string" ? { sql: given, args: more } : given;
  const statement = new Stmt(sql);
  if (Array.isArray(args)) statement.bindIndexes(args.map(argument) as never[]);
  else for (const [name, value] of Object.entries(args ?? {})) statement.bindName(name, argument(value) as never);
  return statement;
}

function resultOf({ columnNames, columnDecltypes, rows, affectedRowCount, lastInsertRowid }: RowsResult): ResultSet {
  const columns = columnNames.map((name) => name ?? "");
  return {
    columns,
    columnTypes: columnDecltypes.map((type) => type ?? ""),
    rows: rows as unknown as ResultSet["rows"],
    rowsAffected: affectedRowCount,
    lastInsertRowid,
    toJSON: () => ({ columns, rows, rowsAffected: affectedRowCount }),
  };
}

/** Only a statement that changes nothing may be sent twice. */
const isRead = (given: Given): boolean =>
  /^\s*(select|explain|pragma\s+\w+\s*$)/i.test(typeof given === "string" ? given : given.sql);

interface Pool {
  /** A stream for the caller alone; `old` when it was used before. */
  take(): Promise<{ stream: Stream; old: boolean }>;
  /** Gives it back; without `keep` it is closed, and the server undoes what is open on it. */
  give(stream: Stream, keep: boolean): void;
  close(): void;
}

/** Open streams: the one used last is used next, and those idle for too long are closed. */
function streamPool(open: () => Stream): Pool {
  const free: { stream: Stream; at: number }[] = [];
  const waiting: (() => void)[] = [];
  let busy = 0;
  return {
    async take() {
      while (busy >= LANES) await new Promise<void>((resolve) => waiting.push(resolve));
      busy++;
      while (free[0] && performance.now() - free[0].at > IDLE_MS) free.shift()?.stream.close();
      const kept = free.pop();
      return { stream: kept?.stream ?? open(), old: kept !== undefined };
    },
    give(stream, keep) {
      busy--;
      if (keep && !stream.closed) free.push({ stream, at: performance.now() });
      else stream.close();
      waiting.shift()?.();
    },
    close() {
      for (const { stream } of free.splice(0)) stream.close();
    },
  };
}

/** Whether the server answers: while it does not, requests fail at once instead of waiting one after the other. */
function healthOf() {
  let downUntil = 0;
  const isDown = () => performance.now() < downUntil;
  return {
    isDown,
    /** Until when a statement is tried again. */
    deadline: (patienceMs: number) => performance.now() + (isDown() ? 0 : patienceMs),
    failed() {
      downUntil = performance.now() + DOWN_MS;
    },
    answered() {
      downUntil = 0;
    },
  };
}

interface Server {
  pool: Pool;
  health: ReturnType<typeof healthOf>;
}

/** Runs one statement outside of transactions. A read is sent again when its connection breaks, until `until`. */
async function runOne({ pool, health }: Server, given: Given, more: InArgs | undefined, patienceMs: number) {
  const statement = statementOf(given, more);
  const until = health.deadline(patienceMs);
  for (let pause = PAUSE_MS; ; pause = Math.min(400, pause * 2)) {
    const { stream, old } = await pool.take();
    try {
      const result = resultOf(await stream.query(statement));
      pool.give(stream, true);
      health.answered();
      return result;
    } catch (error) {
      pool.give(stream, continues(error));
      const again = isTaken(error) || (isLost(error) && isRead(given));
      if (!again || (performance.now() > until && !old)) {
        if (isLost(error)) health.failed();
        throw remoteError(error);
      }
      // Whatever broke an old stream may be over.
      if (!old) await Bun.sleep(pause);
    }
  }
}

/** The last committed mark, once no other transaction is open; null when nobody can know it in time. */
async function findMark(pool: Pool, marks: Marks, until: number): Promise<number | null> {
  for (let pause = PAUSE_MS; performance.now() < until; pause = Math.min(400, pause * 2)) {
    const { stream } = await pool.take();
    let keep = false;
    try {
      // With the lock for writing: a transaction that is still open cannot be committed after this.
      await stream.run("BEGIN IMMEDIATE");
      const { rows } = await stream.query(statementOf(marks.find));
      await stream.run("ROLLBACK");
      keep = true;
      return rows[0] ? Number(rows[0][0]) : null;
    } catch {
      await Bun.sleep(pause);
    } finally {
      pool.give(stream, keep);
    }
  }
  return null;
}

/** A transaction for writing. It begins with its first statement, in one request. */
function transactionOn(
  { pool, health }: Server,
  { patienceMs = PATIENCE_MS, settleMs = SETTLE_MS, marks = null }: RemoteOptions,
): Transaction {
  const until = health.deadline(patienceMs);
  let stream: Stream | null = null;
  let started: Promise<ResultSet> | null = null;
  let mark = 0;
  let over = false;
  /** Why no further statement may run: outside of the transaction it would be stored by itself. */
  let broken: unknown = null;

  function end(keep: boolean): void {
    over = true;
    if (stream) pool.give(stream, keep);
    stream = null;
  }

  /** BEGIN, the mark and the first statement. Nothing is stored until COMMIT, so all of it may be sent again. */
  async function begin(given: Given): Promise<ResultSet> {
    const statement = statementOf(given);
    for (let pause = PAUSE_MS; ; pause = Math.min(400, pause * 2)) {
      const { stream: own, old } = await pool.take();
      const marking = marks?.next();
      let begun = false;
      try {
        const batch = own.batch();
        const first = batch.step();
        const beginning = first.run("BEGIN IMMEDIATE");
        let before = first;
        let marked: ReturnType<typeof first.run> | null = null;
        if (marking) {
          const step = batch.step().condition(BatchCond.ok(before));
          marked = step.run(statementOf(marking.statement));
          before = step;
        }
        const running = batch.step().condition(BatchCond.ok(before)).query(statement);
        // The first failure is the one to report.
        const all = Promise.allSettled([beginning, marked, running]);
        await batch.execute();
        await all;
        await beginning;
        begun = true;
        health.answered();
        if (marking && marks && (await marked)?.affectedRowCount !== 1) throw marks.lost();
        mark = marking?.mark ?? 0;
        stream = own;
        return resultOf((await running) as RowsResult);
      } catch (error) {
        if (begun && continues(error)) {
          stream = own;
          throw error;
        }
        pool.give(own, false);
        const again = isTaken(error) || isLost(error);
        if (!again || (performance.now() > until && !old)) {
          if (isLost(error)) health.failed();
          over = true;
          throw remoteError(error);
        }
        if (!old) await Bun.sleep(pause);
      }
    }
  }

  async function execute(given: Given): Promise<ResultSet> {
    if (broken) throw broken;
    if (over) throw new Error("the transaction is over");
    if (!started) {
      started = begin(given);
      return started.catch((error) => {
        if (!stream) broken = error;
        throw error;
      });
    }
    await started.catch(() => {});
    if (broken) throw broken;
    if (!stream) throw new Error("the transaction is over");
    try {
      return resultOf(await stream.query(statementOf(given)));
    } catch (error) {
      if (continues(error)) throw error;
      broken = remoteError(error);
      throw broken;
    }
  }

  /** Whether a commit without an answer took place. */
  async function settle(cause: unknown): Promise<void> {
    const found = marks && (await findMark(pool, marks, performance.now() + settleMs));
    if (found === null) throw unknownOutcome(cause);
    if (found !== mark) throw unreachable(cause);
  }

  async function rollback(): Promise<void> {
    await started?.catch(() => {});
    if (over) return;
    const open = stream;
    const clean =
      !broken && open
        ? await open.run("ROLLBACK").then(
            () => true,
            () => false,
          )
        : false;
    if (!over) end(clean);
  }

  return {
    execute,
    async batch(statements) {
      const results: ResultSet[] = [];
      for (const one of statements)
        results.push(await execute(Array.isArray(one) ? { sql: one[0], args: one[1] ?? [] } : one));
      return results;
    },
    executeMultiple: () => Promise.reject(new Error("one statement at a time")),
    async commit() {
      if (!started) return;
      await started.catch(() => {});
      if (broken) throw broken;
      if (!stream) throw new Error("the transaction is over");
      try {
        await stream.run("COMMIT");
        end(true);
      } catch (error) {
        const lost = isLost(error);
        if (!lost) throw remoteError(error);
        end(false);
        await settle(error);
      }
    },
    rollback,
    close: () => void rollback(),
    get closed() {
      return over;
    },
  };
}

/** A client of the database at `url` (`libsql://`, `https://` or `http://`). */
export function remoteClient(url: string, authToken?: string, options: RemoteOptions = {}): Client {
  const { hranaHttpUrl, authToken: inUrl } = parseLibsqlUrl(url.replace(/^ws/, "http"));
  const health = healthOf();
  const send = (given: Request | string | URL) =>
    fetch(new Request(given as Request, { signal: AbortSignal.timeout(health.isDown() ? DOWN_ANSWER_MS : ANSWER_MS) }));
  const hrana = openHttp(hranaHttpUrl ?? url, authToken ?? inUrl, send);
  hrana.intMode = "number";
  const pool = streamPool(() => hrana.openStream());
  const server = { pool, health };
  const base = createClient({ url, authToken });
  const through = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (error) {
      throw remoteError((error as Error).cause ?? error);
    }
  };
  const own: Partial<Client> = {
    execute: ((given: Given, more?: InArgs) =>
      runOne(server, given, more, options.patienceMs ?? READ_PATIENCE_MS)) as Client["execute"],
    transaction: async () => transactionOn(server, options),
    batch: (...given) => through(base.batch(...given)),
    migrate: (...given) => through(base.migrate(...given)),
    close() {
      pool.close();
      hrana.close();
      base.close();
    },
  };
  return new Proxy(base, {
    get(target, name) {
      const value: unknown = Reflect.get(name in own ? own : target, name);
      return typeof value === "function" ? value.bind(name in own ? own : target) : value;
    },
  });
}
