/** Shapes of the start page and the palette. */

/** Something that waits for a person. */
export interface Attention {
  id: string;
  icon: "hosts" | "deploy" | "failed" | "data" | "pause" | "models";
  /** The thing's own name. */
  name: string;
  /** What is the matter, as a sentence. */
  text: string;
  href: string;
  /** What the link does: `See why`. */
  act: string;
  /** Milliseconds. */
  at: number | null;
}

/** One line of a search. */
export interface Hit {
  href: string;
  label: string;
  icon: "jobs" | "data" | "models" | "right" | "plus";
  sub?: string;
  state?: string;
}
