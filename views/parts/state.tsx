/** State badges: icon and word for every state; the color only repeats them. */
import { Icon, type IconName } from "./icons.tsx";

type Look = [word: string, tone: "idle" | "run" | "ok" | "warn" | "bad", icon: IconName, turning?: boolean];

const STATES: Record<string, Look> = {
  // Jobs
  validating: ["Validating", "run", "turning", true],
  queued: ["Queued", "idle", "clock"],
  starting: ["Starting", "run", "turning", true],
  running: ["Running", "run", "jobs"],
  pausing: ["Pausing", "warn", "pause"],
  paused: ["Paused", "warn", "pause"],
  stopping: ["Stopping", "warn", "stop"],
  succeeded: ["Succeeded", "ok", "ok"],
  failed: ["Failed", "bad", "failed"],
  cancelled: ["Canceled", "idle", "cancelled"],
  // Trials of sweeps
  waiting: ["Waiting", "idle", "clock"],
  refused: ["Refused", "warn", "warn"],
  // Imports, pushes and archives
  done: ["Done", "ok", "ok"],
  canceled: ["Canceled", "idle", "cancelled"],
  // Datasets and base models
  needs_mapping: ["Needs mapping", "warn", "warn"],
  needs_attention: ["Needs attention", "warn", "warn"],
  ready: ["Ready", "ok", "ok"],
  installing: ["Installing", "run", "turning", true],
  fits: ["Fits", "ok", "ok"],
  too_large: ["Too large", "warn", "warn"],
  not_installed: ["Not installed", "idle", "download"],
  // Deployments
  checking: ["Checking", "run", "turning", true],
  asleep: ["Asleep", "idle", "asleep"],
  stopped: ["Stopped", "idle", "stop"],
  // Accounts and invitations
  active: ["Active", "ok", "ok"],
  suspended: ["Suspended", "warn", "pause"],
  erased: ["Erased", "idle", "ok"],
  deactivated: ["Deactivated", "warn", "pause"],
  deletion_scheduled: ["Deletion scheduled", "warn", "clock"],
  expired: ["Expired", "warn", "clock"],
  // Checks of the installation, and backups
  check_ok: ["OK", "ok", "ok"],
  check_info: ["Note", "idle", "info"],
  check_gap: ["Warning", "warn", "warn"],
  check_missing: ["Missing", "bad", "failed"],
  verified: ["Verified", "ok", "ok"],
  // Webhooks and mails
  delivery_waiting: ["Waiting", "idle", "clock"],
  delivery_sent: ["Sent", "ok", "ok"],
  delivery_dead: ["Given up", "bad", "failed"],
  // Components of the status page, and incidents
  operational: ["Operational", "ok", "ok"],
  maintenance: ["Maintenance", "idle", "clock"],
  degraded: ["Degraded", "warn", "warn"],
  down: ["Down", "bad", "failed"],
  unused: ["Not in use", "idle", "info"],
  investigating: ["Investigating", "bad", "search"],
  identified: ["Identified", "warn", "warn"],
  monitoring: ["Monitoring", "warn", "clock"],
  resolved: ["Resolved", "ok", "ok"],
  // Cases of moderation
  case_open: ["To review", "warn", "warn"],
  case_second_review: ["Second review", "warn", "user"],
  case_appealed: ["Appealed", "warn", "repeat"],
  case_approve: ["Approved", "ok", "ok"],
  case_restrict: ["Restricted", "bad", "pause"],
  case_remove: ["Removed", "bad", "failed"],
  case_warn: ["Warned", "warn", "warn"],
  case_suspend_user: ["User suspended", "bad", "pause"],
  case_suspend_organization: ["Team suspended", "bad", "pause"],
  // Hosts
  cordoned: ["Cordoned", "warn", "pause"],
  draining: ["Draining", "warn", "stop"],
  silent: ["Unreachable", "bad", "failed"],
  lost: ["No longer reported", "bad", "failed"],
  used_outside: ["Used from outside", "warn", "warn"],
  // Attempts
  launching: ["Launching", "run", "turning", true],
  ended: ["Ended", "idle", "stop"],
};

/** The word for a state: `needs_mapping` -> `Needs mapping`. */
export function stateWord(state: string): string {
  return STATES[state]?.[0] ?? state.replaceAll("_", " ");
}

/** A state as a badge. `note` follows the word: `Failed · out of memory`. */
export function StateBadge({ state, note }: { state: string; note?: string | null }) {
  const [word, tone, icon, turning] = STATES[state] ?? [stateWord(state), "idle", "info"];
  return (
    <span class={`badge ${tone}${turning ? " turning" : ""}`}>
      <Icon name={icon as IconName} />
      {word}
      {note ? ` · ${note}` : null}
    </span>
  );
}
