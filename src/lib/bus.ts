/**
 * After-commit events between rooms: a room reports what happened, later rooms listen. Events carry only ids; listeners
 * read the rest.
 */

/** What the owner of an account is notified of, whoever did it. */
export const SECURITY_KINDS = [
  "sign_in.new_device",
  "sign_in.new_network",
  "password.changed",
  "email.changed",
  "two_factor.added",
  "two_factor.removed",
  "two_factor.reset",
  "two_factor.new_codes",
  "two_factor.code_used",
  "passkey.added",
  "passkey.removed",
  "sso.linked",
  "key.created",
  "key.rotated",
  "role.changed",
  "account.suspended",
  "account.restored",
  "account.deletion_scheduled",
  "account.deletion_canceled",
  "organization.suspended",
  "organization.restored",
  "organization.deletion_scheduled",
  "organization.deletion_canceled",
  "account.locked",
] as const;
export type SecurityKind = (typeof SECURITY_KINDS)[number];

/** Something about the security of one account. */
interface SecurityEvent {
  org: string;
  /** Owner of the account. */
  userId: string;
  kind: SecurityKind;
  /** Client that did it; null when it is unknown. */
  ip: string | null;
  userAgent: string | null;
  /** Milliseconds since 1970. */
  at: number;
  /** One fact for people: the name of a key, the new role. Never a secret. */
  detail?: string;
  /** A second address that is notified: the previous one of a changed e-mail address. */
  previousEmail?: string;
}

/** Every event. `org` is the organization that the object belongs to. */
export interface BusEvents {
  "dataset.changed": { org: string; datasetId: string; versionId: string | null };
  "file.changed": { org: string; fileId: string };
  "base_model.changed": { modelId: string };
  "model.created": { org: string; modelId: string; jobId: string };
  "model.deleted": { org: string; modelId: string };
  /** A checkpoint failed its re-check and will not be used again. */
  "checkpoint.invalid": { org: string; jobId: string; checkpointId: string; step: number; reason: string };
  /** An organization may no longer use the models of another one. */
  "checkpoint.unshared": { org: string; models: string[] };
  /** A push of the model to a hub was created, progressed or ended. */
  "push.changed": { org: string; modelId: string };
  /** An archive was started, progressed, ended or was deleted. */
  "archive.changed": { org: string; archiveId: string };
  /** A search for a person, or an erasure after it, progressed or ended. */
  "subject.changed": { org: string; requestId: string };
  "job.changed": { org: string; jobId: string; kind: string; state: string };
  "job.progress": { org: string; jobId: string };
  /** A committed batch of trainer events; `batchId` is the resume point of streams. */
  "job.batch": { org: string; jobId: string; batchId: number };
  "checkpoint.added": { org: string; jobId: string; checkpointId: string; step: number };
  /** A serve job accepts requests at `address`. */
  "job.ready": { org: string; jobId: string; address: string; models: string[] };
  "evaluation.changed": { org: string; evaluationId: string };
  "sweep.changed": { org: string; sweepId: string; state: string };
  "deployment.changed": { org: string; deploymentId: string; state: string };
  /** Hosts were inspected; `ids` are those whose state an administrator or a maintenance window changed. */
  "hosts.changed": { ids: string[] };
  "key.revoked": { org: string; keyId: string };
  "session.ended": { userId: string };
  /** A user or organization was suspended or is to be deleted, or no longer. */
  "hold.changed": { subject: "user" | "organization"; id: string };
  "security.event": SecurityEvent;
  /** A version of the terms was published or withdrawn. */
  "terms.changed": Record<string, never>;
  /** A maintenance window was scheduled, changed, canceled or ended. */
  "maintenance.changed": Record<string, never>;
  /**
   * A budget was set, changed or deleted, or its limit was reached or is no longer; or a late payment changed what may
   * start.
   */
  "budget.changed": { org: string };
  /** An announcement was written, changed, ended or deleted. */
  "announcement.changed": Record<string, never>;
  /** A check was stored that has to be made. */
  "moderation.requested": { org: string };
  /** A case, or what may be used, changed. */
  "moderation.changed": { org: string };
  /** A destination of the audit log was changed or removed. */
  "audit.forwarding": Record<string, never>;
  /** An event for notices was stored. */
  "notice.stored": { org: string };
  /** A webhook or mail was sent, or failed. */
  "delivery.changed": { org: string; deliveryId: string };
}

export type BusName = keyof BusEvents;

/** One event as data: returned from inside a transaction, to be emitted after the commit. */
export type BusMessage = { [N in BusName]: { name: N; event: BusEvents[N] } }[BusName];

/** Emits messages in order. */
export function emitAll(bus: Bus, messages: readonly BusMessage[]): void {
  for (const message of messages) bus.emit(message.name, message.event as never);
}
type Listener<N extends BusName> = (event: BusEvents[N]) => void;

export interface Bus {
  emit<N extends BusName>(name: N, event: BusEvents[N]): void;
  /** Returns the function that stops listening. */
  on<N extends BusName>(name: N, listener: Listener<N>): () => void;
}

/** A bus that isolates the emitter from errors of listeners; `onError` receives them. */
export function createBus(onError: (name: string, error: unknown) => void): Bus {
  const listeners = new Map<string, Set<Listener<never>>>();
  return {
    emit(name, event) {
      for (const listener of [...(listeners.get(name) ?? [])]) {
        try {
          (listener as Listener<typeof name>)(event);
        } catch (error) {
          onError(name, error);
        }
      }
    },
    on(name, listener) {
      const set = listeners.get(name) ?? new Set();
      listeners.set(name, set);
      set.add(listener as Listener<never>);
      return () => set.delete(listener as Listener<never>);
    },
  };
}
