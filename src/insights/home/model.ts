/** Types of the home page and the command palette. */

/** Something that needs a person's attention. */
export interface Attention {
  id: string;
  icon: "hosts" | "deploy" | "failed" | "data" | "pause" | "models";
  /** Name of the host, deployment, job, dataset or model. */
  name: string;
  /** The problem, as a sentence. */
  text: string;
  href: string;
  /** Label of the link: `Show the cause`. */
  action: string;
  /** Milliseconds since 1970. */
  at: number | null;
}

/** One search result. */
export interface Hit {
  href: string;
  label: string;
  icon: "jobs" | "data" | "models" | "right" | "plus";
  sub?: string;
  state?: string;
}
