/**
 * The trainer of a machine of the fake cloud: it exchanges its bootstrap token and speaks trainer protocol v1 with the
 * application in this process, a training step for each look of the test.
 */
import type { Command, EventsReply, SpecReply } from "../../../src/contract/trainer.ts";
import type { TestApp } from "../../support/app.ts";
import { metrics, saveCheckpoint } from "../../support/attempt.ts";
import type { Machine } from "../../support/fake-cloud/core.ts";

/** How trainers of a test behave. */
export interface Manners {
  /** It never calls home. */
  mute: boolean;
  /** It reports its steps again and again, and never ends. */
  endless: boolean;
}

/** The variables that the plugin gave a machine: in its environment, or in the script of its user data. */
export function variablesOf({ env, userData }: Machine): Record<string, string> {
  const [, text = ""] = /<<'FTL_END_OF_ENV'\n([\s\S]*?)\nFTL_END_OF_ENV/.exec(userData ?? "") ?? [];
  const lines = text.split("\n").filter(Boolean);
  return {
    ...env,
    ...Object.fromEntries(lines.map((line) => [line.split("=", 1)[0], line.slice(line.indexOf("=") + 1)])),
  };
}

export class RemoteTrainer {
  readonly key: string;
  /** Its machine is there. */
  alive = true;
  /** Seconds until the vendor takes the machine back, once it said so. */
  notice: number | null = null;
  /** It has the token of its attempt. */
  called = false;
  /** The code with which the server refused it; it stops then. */
  refused: string | null = null;
  finished = false;
  resumedFrom: number | null = null;
  step = 0;
  private token: string;
  private seq = 0;
  private spec: SpecReply | null = null;
  private waiting: Record<string, unknown>[] = [];
  private readonly nonce = crypto.randomUUID().replaceAll("-", "");

  constructor(
    private readonly app: TestApp,
    readonly machine: Machine,
    private readonly manners: Manners,
  ) {
    const { FTL_KEY = "", FTL_ATTEMPT_TOKEN = "" } = variablesOf(machine);
    this.key = FTL_KEY;
    this.token = FTL_ATTEMPT_TOKEN;
  }

  call(method: string, path: string, given: { body?: unknown; raw?: RequestInit["body"] } = {}): Promise<Response> {
    const headers: Record<string, string> = { authorization: `Bearer ${this.token}` };
    if (given.body !== undefined) headers["content-type"] = "application/json";
    const raw = given.body === undefined ? given.raw : JSON.stringify(given.body);
    return this.app.request(method, `/trainer/v1${path}`, { raw, headers });
  }

  async json<T = Record<string, unknown>>(method: string, path: string, given?: { body?: unknown }): Promise<T> {
    const answer = await this.call(method, path, given);
    const body = (await answer.json()) as T & { error?: { code: string } };
    if (answer.ok) return body;
    if ([401, 409, 410].includes(answer.status)) this.refused = body.error?.code ?? String(answer.status);
    throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(body)}`);
  }

  private emit(event: Record<string, unknown>): void {
    this.seq++;
    this.waiting.push({ seq: this.seq, at: Date.now(), ...event });
  }

  private async send(): Promise<Command[]> {
    const reply = await this.json<EventsReply>("POST", "/events", { body: { events: this.waiting } });
    this.waiting = this.waiting.filter(({ seq }) => Number(seq) > reply.last_seq);
    return reply.commands;
  }

  private async begin(): Promise<SpecReply> {
    const { token } = await this.json<{ token: string }>("POST", "/bootstrap", { body: { nonce: this.nonce } });
    this.token = token;
    this.called = true;
    const spec = await this.json<SpecReply>("GET", "/spec");
    this.seq = spec.last_seq;
    this.resumedFrom = spec.resume?.step ?? null;
    this.step = spec.resume?.step ?? 0;
    this.emit({ type: "phase", phase: "training", message: "begins" });
    return spec;
  }

  private async save(): Promise<void> {
    await this.send();
    await saveCheckpoint(this, this.step, { "eval/loss": 1 / this.step });
  }

  private async end(outcome: "succeeded" | "paused" | "cancelled"): Promise<void> {
    this.emit({ type: "finished", outcome });
    await this.send();
    this.finished = true;
  }

  private async work(spec: SpecReply): Promise<void> {
    if (spec.spec.kind !== "train") throw new Error("not a training");
    const { total_steps: total, save_every: every } = spec.spec.schedule;
    if (this.notice !== null) {
      // The machine has seconds left: what is done so far is saved.
      await this.save();
      this.finished = true;
      return;
    }
    if (this.step < total) this.step++;
    else if (!this.manners.endless) return this.end("succeeded");
    this.emit(metrics(this.step, { "train/loss": 1 / this.step }));
    this.emit({
      type: "progress",
      step: this.step,
      total_steps: total,
      eta_s: 1,
      fraction: this.step / total,
      tokens_seen: this.step,
    });
    const done = this.step === total;
    if ((this.step % every === 0 || done) && !this.manners.endless) await this.save();
    for (const command of await this.send()) {
      if (command.type !== "cancel") await this.save();
      this.emit({ type: "command_done", id: command.id, command: command.type });
      if (command.type !== "checkpoint") return this.end(command.type === "pause" ? "paused" : "cancelled");
    }
    if (done && !this.manners.endless) {
      const result = { steps: total, train_loss: 0.1, eval_loss: 0.2, tokens_seen: total, adapter_artifact: null };
      this.emit({ type: "result", result });
      await this.end("succeeded");
    }
  }

  /** Does what a trainer does in a few seconds; nothing once the server refused it or its machine is gone. */
  async live(): Promise<void> {
    if (!this.alive || this.finished || this.refused !== null || this.manners.mute) return;
    try {
      this.spec ??= await this.begin();
      await this.work(this.spec);
    } catch (error) {
      if (this.refused === null) throw error;
    }
  }
}
