/** Reads settings that providers of rented machines have in common, and collects what is wrong with them by field. */

export interface FieldProblem {
  field: string;
  message: string;
  remedy: string;
}

interface Found {
  problems: FieldProblem[];
  /** Adds a problem unless `fine`. */
  require(fine: boolean, field: string, message: string, remedy: string): void;
}

export function fieldProblems(): Found {
  const problems: FieldProblem[] = [];
  return {
    problems,
    require(fine, field, message, remedy) {
      if (!fine) problems.push({ field, message, remedy });
    },
  };
}

/** The parts of a list, which is text separated by commas or spaces, or an array. */
export function listOf(value: unknown): string[] {
  const parts = Array.isArray(value) ? value.map(String) : String(value ?? "").split(/[\s,]+/);
  return [...new Set(parts.map((part) => part.trim()).filter((part) => part !== ""))];
}

/** The address without its last slash; empty when it is not HTTPS, or HTTP of this machine. */
export function apiUrl(value: unknown): string {
  try {
    const url = new URL(String(value ?? ""));
    const here = ["127.0.0.1", "localhost", "[::1]"].includes(url.hostname);
    if (url.protocol !== "https:" && !(url.protocol === "http:" && here)) return "";
    return url.username || url.password || url.search ? "" : url.href.replace(/(?<!\/)\/+$/, "");
  } catch {
    return "";
  }
}
