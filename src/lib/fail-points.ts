/**
 * Places where a test can kill the server, to prove that nothing is lost there. Off unless the setting `fail_points`
 * names them.
 */
import { AppError } from "../errors.ts";

/** Every place, and what has happened when it is reached. */
export const FAIL_POINTS = {
  "launch.before": "the attempt is stored, its work is not started",
  "launch.started": "the work is started, its handle is not stored",
  "meter.open": "an interval of an attempt is written, its transaction is not committed",
  "meter.stored": "the intervals of an attempt are stored",
  "meter.requests": "the tokens of requests are summed, their transaction is not committed",
  "meter.storage": "what one team stores is metered, the hour is not finished",
  "exit.seen": "the work was seen to have ended, none of that is stored",
  "exit.stored": "the end of an attempt is stored, nobody was notified",
  "terminate.before": "an attempt is over, its work was not terminated yet",
  "terminate.gone": "the work of an attempt is terminated, that is not stored",
  "events.stored": "a trainer's events are stored, the trainer has no answer",
  "mailbox.handled": "a request of the mailbox is carried out, its answer is not in the bucket",
  "mailbox.answered": "a request of the mailbox is answered, it is still in the bucket",
  "notice.stored": "the event of a notice is stored, nothing was sent",
  "notice.sent": "a notice was sent, that is not stored",
  "audit.forwarded": "entries of the audit log were forwarded, the position is not stored",
  "rotate.prepared": "the new secret is on disk, nothing is sealed with it",
  "rotate.stored": "everything is sealed with the new secret, whose file is not in place",
  "erasure.rows": "an organization's files are erased, and some of its rows",
  "erasure.account": "what an account created is handed over, and some of its rows are erased",
  "artifact.checked": "the files and the manifest of an artifact are on disk, its rows do not say so",
  "backup.piece": "a piece of a file of a backup is encrypted, it is not in the bucket",
  "backup.listed": "the files of a backup and their list are in the bucket, its summary is not",
  "objects.sent": "the files of a unit are in the bucket, their rows are not stored",
  "statement.booked": "a statement with its lines, credits and ledger entries is written, nothing is committed",
  "statement.closed": "a month of one organization is closed, the others are not, and nobody was notified",
  "stripe.invoice": "an invoice exists at Stripe, its id is not stored",
  "stripe.item": "an item of an invoice exists at Stripe, others do not",
  "stripe.checked": "an invoice at Stripe equals the ledger, it is a draft",
  "stripe.finalized": "an invoice at Stripe is finalized, that is not stored",
  "stripe.refunded": "a refund exists at Stripe, its credit note does not",
  "stripe.meter_event": "a use is counted by a meter of Stripe, that is not stored",
  "stripe.event": "an event of Stripe is carried out, that is not stored",
} as const;
export type FailPoint = keyof typeof FAIL_POINTS;

/** Ends this process on the spot, as `kill -9` does, when the point is armed and its count is reached. */
export type FailPoints = (name: FailPoint) => void;

/**
 * Arms points of a server: `launch.started` strikes the first time, `events.stored@20` the twentieth.
 * @param setting comma-separated; null = no point is armed, the only case in production
 * @throws AppError `config_invalid` for a point that does not exist
 */
export function armFailPoints(setting: string | null): FailPoints {
  if (!setting) return () => {};
  /** Passes left until each point strikes. */
  const armed = new Map<string, number>();
  for (const part of setting.split(",")) {
    const [name = "", count = "1"] = part.trim().split("@");
    if (!Object.hasOwn(FAIL_POINTS, name) || !/^[1-9]\d{0,5}$/.test(count))
      throw new AppError(
        "invalid",
        "config_invalid",
        `Setting "fail_points": "${part.trim()}" is not NAME or NAME@COUNT with a NAME of ${Object.keys(FAIL_POINTS).join(", ")}.`,
        { param: "fail_points" },
      );
    armed.set(name, Number(count));
  }
  return (name) => {
    const left = armed.get(name);
    if (left === undefined) return;
    if (left === 1) process.kill(process.pid, "SIGKILL");
    armed.set(name, left - 1);
  };
}
