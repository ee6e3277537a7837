/** Reads the progress of an engine that builds, pulls or loads an image: JSON lines, including errors. */
import { AppError } from "../../errors.ts";

/** One line of such a stream, with the used fields. */
interface StreamLine {
  stream?: string;
  status?: string;
  id?: string;
  progressDetail?: { current?: number; total?: number };
  error?: string;
  errorDetail?: { message?: string };
  aux?: { ID?: string; Digest?: string };
}

export type Show = (message: string, fraction: number | null) => void;

/** The result of a stream. */
interface Outcome {
  /** Id of the built image, when the engine reported it. */
  id: string | null;
  /** The last 200 printed lines, for error messages. */
  lines: string[];
}

const KEEP_LINES = 200;

/**
 * Follows a stream to its end, showing progress.
 * @throws AppError `image_failed` for an error inside the stream (whose status is 200), with the last printed lines
 */
export async function followImage(stream: AsyncIterable<Uint8Array>, show: Show): Promise<Outcome> {
  const reader = imageProgress(show);
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = parts.pop() ?? "";
    for (const part of parts) reader.line(part);
  }
  if (rest.trim()) reader.line(rest);
  return reader.outcome;
}

/** Handles the lines one by one. Bytes of all layers add up to one fraction; steps of a build are counted. */
export function imageProgress(show: Show): { line(text: string): void; outcome: Outcome } {
  const outcome: Outcome = { id: null, lines: [] };
  const layers = new Map<string, { current: number; total: number }>();
  let step: number | null = null;

  function print(text: string): void {
    for (const line of text.split("\n").map((one) => one.trimEnd())) {
      if (!line.trim()) continue;
      outcome.lines.push(line);
      if (outcome.lines.length > KEEP_LINES) outcome.lines.shift();
      const [, at, of, what] = /^Step (\d+)\/(\d+) : (.*)$/.exec(line) ?? [];
      if (at && of) step = (Number(at) - 1) / Number(of);
      // Ids of intermediate layers and containers are not useful.
      if (/^ ---> |^Removing intermediate/.test(line)) continue;
      show(what ? `Step ${at} of ${of}: ${what}` : line, step);
    }
  }

  function layer(line: StreamLine): void {
    const { current = 0, total = 0 } = line.progressDetail ?? {};
    const id = line.id ?? "";
    if (total > 0 && /^(Downloading|Loading)/.test(line.status ?? "")) layers.set(id, { current, total });
    const done = /^(Download complete|Pull complete|Already exists)/.test(line.status ?? "");
    const known = layers.get(id);
    if (done && known) known.current = known.total;
    const all = [...layers.values()];
    const bytes = all.reduce((sum, one) => sum + one.total, 0);
    const fraction = bytes > 0 ? all.reduce((sum, one) => sum + one.current, 0) / bytes : null;
    show(`${line.status}${id && /^[0-9a-f]{12}$/.test(id) ? ` (layer ${id})` : ""}`, fraction);
  }

  return {
    outcome,
    line(text) {
      let line: StreamLine;
      try {
        line = JSON.parse(text) as StreamLine;
      } catch {
        return; // Not a JSON line: skip it.
      }
      const problem = line.errorDetail?.message ?? line.error;
      if (problem !== undefined) {
        const before = outcome.lines.slice(-15).join("\n");
        throw new AppError("unavailable", "image_failed", `${problem}${before ? `\n${before}` : ""}`);
      }
      if (line.aux?.ID) outcome.id = line.aux.ID;
      if (line.stream) print(line.stream);
      else if (line.status) layer(line);
    },
  };
}
