/** Regular background work: a round now and at every interval, one at a time. */

interface Host {
  signal: AbortSignal;
  log(level: "error", message: string, fields: { cause: unknown }): void;
}

/**
 * Starts the rounds. One that takes longer than the interval is not overtaken, and one that fails is logged; the next
 * round tries again.
 * @param failed the message of the log, such as `months could not be closed`
 * @returns the function that stops the rounds and waits for the one in progress
 */
export function startRounds(
  host: Host,
  everyMs: number,
  failed: string,
  round: () => Promise<unknown>,
): () => Promise<void> {
  let running: Promise<unknown> | null = null;
  const look = () => {
    running ??= round()
      .catch((cause) => {
        if (!host.signal.aborted) host.log("error", failed, { cause });
      })
      .finally(() => {
        running = null;
      });
  };
  look();
  const timer = setInterval(look, everyMs);
  return async () => {
    clearInterval(timer);
    await running;
  };
}
