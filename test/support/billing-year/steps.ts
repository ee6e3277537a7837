/** What the simulated year asks its server process to do, and what it answers. */

/** A job of the script. Prices are those in force at its first launch. */
export interface YearJob {
  id: string;
  org: string;
  userId: string;
  kind: "train" | "serve";
  gpus: number;
  /** What the provider charges for an hour, in dollars; 0 = own machines. */
  pricePerHour: number;
}

/** `lost` is our failure, which another attempt follows, `bad_result` one that ends the job; the last is the user's. */
export type YearFailure = "lost" | "bad_result" | "out_of_memory";

/** Each can be repeated after a kill: what was done before changes nothing the second time. */
export type Act =
  /** `number` of the attempt. */
  | { do: "launch"; job: YearJob; number: number }
  | { do: "phase"; job: YearJob; phase: string }
  | { do: "checkpoint"; job: YearJob }
  | { do: "fail"; job: YearJob; number: number; reason: YearFailure }
  | { do: "end"; job: YearJob; how: "succeeded" | "cancelled" }
  | { do: "ask"; id: string; org: string; userId: string; input: number; output: number }
  | { do: "store"; id: string; org: string; userId: string; bytes: number }
  | { do: "request"; method: string; path: string; key: string; body?: unknown }
  /** A request of a browser, after signing in. */
  | { do: "browse"; method: string; path: string; email: string; password: string }
  /** An event of Stripe, as it is posted. */
  | { do: "event"; payload: string; signature: string }
  /** The passes that a server makes all the time: its own, or those with Stripe. */
  | { do: "pass"; what: "own" | "stripe"; fillGaps: boolean };

export interface Step {
  /** The time, in milliseconds since 1970. It never goes back. */
  now: number;
  /** Fail points as in the setting `fail_points`. A change starts their counts again. */
  armed: string;
  act: Act;
}

export interface Reply {
  /** Of a request or an event. */
  status?: number;
  body?: string;
  /** Jobs that a budget stopped in this pass. */
  stopped?: string[];
  /** The step failed in a way that no kill explains. */
  error?: string;
}

/** Given to the server process as its only argument, as JSON. */
export interface ServerInput {
  dir: string;
  stripeUrl: string;
  now: number;
}
