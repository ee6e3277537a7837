/** `logs`: the log of a job; with -f its new lines until the job ends. */
import { isFinal } from "../../contract/job.ts";
import type { JobView } from "../../training/jobs/model.ts";
import type { LogLines } from "../../training/metrics/model.ts";
import { EXIT, type Verb } from "../command.ts";
import { connect, SERVER_OPTIONS } from "./connection.ts";
import { oneLine, print, say } from "./output.ts";
import { idOf } from "./resources.ts";

const FOLLOW_MS = 1000;

export const logs: Verb = {
  name: "logs",
  summary: "Prints the log of a job; with -f also new lines, until the job ends.",
  words: "JOB",
  options: {
    follow: { short: "f", help: "continue with new lines until the job ends" },
    tail: { value: "N", short: "n", help: "start with the last N lines, at most 5000 (default 500)" },
    search: { value: "TEXT", help: "only lines that contain this text" },
    ...SERVER_OPTIONS,
    json: { help: "one JSON object per line" },
  },
  async run(args) {
    const api = connect(args);
    const id = encodeURIComponent(idOf(args, "job"));
    const search = args.text("search");
    const read = async (query: Record<string, string>) => {
      const asked = new URLSearchParams({ ...query, ...(search ? { search } : {}) });
      const page = await api.call<LogLines>("GET", `/v1/jobs/${id}/logs?${asked}`);
      for (const line of page.data) {
        const time = new Date(line.at).toISOString();
        print(
          args.on("json") ? `${JSON.stringify(line)}\n` : `${time} ${line.level.padEnd(5)} ${oneLine(line.message)}\n`,
        );
      }
      return page;
    };
    let page = await read({ limit: args.text("tail") ?? "500" });
    if (page.trimmed && !args.on("json")) say("Older lines were deleted because the job wrote too many.");
    if (page.data.length === 0 && !args.on("follow")) say("No log lines. finetune-lab job show has the job's state.");
    let last = page.data.at(-1)?.id ?? 0;
    while (args.on("follow")) {
      // The state is read first: lines that the job wrote before it ended are then all in the next page.
      const { state } = await api.call<JobView>("GET", `/v1/jobs/${id}`);
      do {
        page = await read({ after: String(last), limit: "5000" });
        last = page.data.at(-1)?.id ?? page.next ?? last;
      } while (page.has_more);
      if (isFinal(state)) break;
      await Bun.sleep(FOLLOW_MS);
    }
    return EXIT.ok;
  },
};
