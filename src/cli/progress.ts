/** Progress on a terminal in one line that is rewritten; fewer, plain lines without a terminal. */

export interface Progress {
  /** The current work and its progress (0 to 1; null when unknown). */
  show(message: string, fraction: number | null): void;
  /** A permanent line. */
  line(text: string): void;
  /** Ends the rewritten line and keeps it. */
  end(): void;
}

interface Out {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
}

const WIDTH = 24;

/** A bar such as `━━━━━━────  62%`. */
function bar(fraction: number, width = WIDTH): string {
  const full = Math.round(Math.min(1, Math.max(0, fraction)) * width);
  return `${"━".repeat(full)}${"─".repeat(width - full)} ${String(Math.floor(fraction * 100)).padStart(3)}%`;
}

/** `1:23` or `1:02:03` for a number of seconds. */
export function clockText(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  const [h, m] = [Math.floor(s / 3600), Math.floor(s / 60) % 60];
  return h > 0
    ? `${h}:${String(m).padStart(2, "0")}:${String(s % 60).padStart(2, "0")}`
    : `${m}:${String(s % 60).padStart(2, "0")}`;
}

export function createProgress(out: Out = process.stderr): Progress {
  let open = false;
  let lastWords = "";
  let lastAt = Number.NEGATIVE_INFINITY;
  return {
    show(message, fraction) {
      const text = fraction === null ? `  ${message}` : `  ${bar(fraction)}  ${message}`;
      if (out.isTTY) {
        out.write(`\r\x1b[2K${text.slice(0, (out.columns || 100) - 1)}`);
        open = true;
        return;
      }
      // Without a terminal: a line when new work begins, otherwise at most one per 15 seconds.
      const words = message.replace(/[\d.:]+/g, "");
      if (words === lastWords && performance.now() - lastAt < 15_000) return;
      lastWords = words;
      lastAt = performance.now();
      out.write(`${text}\n`);
    },
    line(text) {
      if (open) out.write("\r\x1b[2K");
      open = false;
      out.write(`${text}\n`);
    },
    end() {
      if (open) out.write("\n");
      open = false;
    },
  };
}
