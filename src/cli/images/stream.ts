/** Reads what an engine tells while it builds, pulls or loads an image: JSON lines, with the errors among them. */
import { AppError } from "../../errors.ts";

/** One line of such a stream, as far as it is used. */
interface Told {
  stream?: string;
  status?: string;
  id?: string;
  progressDetail?: { current?: number; total?: number };
  error?: string;
  errorDetail?: { message?: string };
  aux?: { ID?: string; Digest?: string };
}

export type Show = (message: string, fraction: number | null) => void;

/** What a stream said in the end. */
interface Outcome {
  /** Id of the image that was built, when the engine named it. */
  id: string | null;
  /** Everything printed, for the last lines of a failure; at most 200 lines. */
  lines: string[];
}

const KEEP_LINES = 200;

/**
 * Follows a stream to its end, showing progress.
 * @throws AppError `image_failed` for an error inside the stream, which comes with status 200; with the last lines
 *   printed
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

/** Takes the lines one by one. Bytes of layers under way add up to one fraction; steps of a build are counted. */
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
      // Ids of layers and containers in between tell nobody anything.
      if (/^ ---> |^Removing intermediate/.test(line)) continue;
      show(what ? `Step ${at} of ${of}: ${what}` : line, step);
    }
  }

  function layer(told: Told): void {
    const { current = 0, total = 0 } = told.progressDetail ?? {};
    const id = told.id ?? "";
    if (total > 0 && /^(Downloading|Loading)/.test(told.status ?? "")) layers.set(id, { current, total });
    const done = /^(Download complete|Pull complete|Already exists)/.test(told.status ?? "");
    const known = layers.get(id);
    if (done && known) known.current = known.total;
    const all = [...layers.values()];
    const bytes = all.reduce((sum, one) => sum + one.total, 0);
    const fraction = bytes > 0 ? all.reduce((sum, one) => sum + one.current, 0) / bytes : null;
    show(`${told.status}${id && /^[0-9a-f]{12}$/.test(id) ? ` (layer ${id})` : ""}`, fraction);
  }

  return {
    outcome,
    line(text) {
      let told: Told;
      try {
        told = JSON.parse(text) as Told;
      } catch {
        return; // Not a line of the stream: nothing is lost by passing over it.
      }
      const problem = told.errorDetail?.message ?? told.error;
      if (problem !== undefined) {
        const before = outcome.lines.slice(-15).join("\n");
        throw new AppError("unavailable", "image_failed", `${problem}${before ? `\n${before}` : ""}`);
      }
      if (told.aux?.ID) outcome.id = told.aux.ID;
      if (told.stream) print(told.stream);
      else if (told.status) layer(told);
    },
  };
}
