/** A queue whose rows stay in the database: it runs a few at a time, and continues after a restart. */

/** Delay before a row whose end could not be stored, for example with a full disk, is repeated. */
const RETRY_MS = 5000;

/** What a queue needs from the process it runs in. */
interface Host {
  signal: AbortSignal;
  clock: { sleep(ms: number, signal?: AbortSignal): Promise<void> };
  log(level: "error", message: string, fields: { cause: unknown; id?: string }): void;
}

interface Options<Row> {
  /** What waits, for the log: "datasets to import". */
  what: string;
  /** Rows in parallel. */
  atOnce: number;
  /** The oldest unfinished row that is not among the running ones. */
  next(running: string[]): Promise<Row | null>;
  /** Carries out a row and stores its end. When `signal` aborts, the row stays unfinished and is continued later. */
  run(row: Row, signal: AbortSignal): Promise<void>;
}

interface WorkQueue {
  /** Aborts running rows that may not run any more, and starts those that wait. */
  review(mayRun: (ids: string[]) => Promise<string[]>): Promise<void>;
  /** Starts rows that wait. Can be called at any time, any number of times. */
  kick(): void;
  /** Aborts a running row; the caller has changed its row before. */
  stop(id: string): void;
  /** The rows that run now, by id. */
  running: ReadonlyMap<string, AbortController>;
}

/** Creates the queue of one table. Everything that runs stops with the host. */
export function workQueue<Row extends { id: string }>(host: Host, options: Options<Row>): WorkQueue {
  const running = new Map<string, AbortController>();
  let looking = false;
  let again = false;
  host.signal.addEventListener("abort", () => {
    for (const controller of running.values()) controller.abort();
  });

  const start = (row: Row) => {
    const controller = new AbortController();
    running.set(row.id, controller);
    void options
      .run(row, controller.signal)
      .catch((cause) => {
        if (host.signal.aborted) return;
        host.log("error", `the end of a row could not be stored: ${options.what}`, { id: row.id, cause });
        return host.clock.sleep(RETRY_MS, host.signal);
      })
      .finally(() => {
        running.delete(row.id);
        kick();
      });
  };

  const look = async () => {
    while (running.size < options.atOnce && !host.signal.aborted) {
      const row = await options.next([...running.keys()]);
      if (!row) return;
      start(row);
    }
  };

  function kick(): void {
    if (looking) {
      again = true;
      return;
    }
    looking = true;
    void look()
      .catch((cause) => {
        if (!host.signal.aborted) host.log("error", `could not look for ${options.what}`, { cause });
      })
      .finally(() => {
        looking = false;
        if (!again) return;
        again = false;
        kick();
      });
  }

  async function review(mayRun: (ids: string[]) => Promise<string[]>): Promise<void> {
    const ids = [...running.keys()];
    const kept = ids.length > 0 ? await mayRun(ids) : [];
    for (const id of ids) if (!kept.includes(id)) running.get(id)?.abort();
    kick();
  }

  return { review, kick, stop: (id) => running.get(id)?.abort(), running };
}
