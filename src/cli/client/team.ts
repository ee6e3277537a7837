/** `team burst`: the burst policy of jobs of one's own team that have none. */
import { BURST_TEXT_MESSAGE, burstPolicyOf, burstPolicyText } from "../../lib/text/burst-policy.ts";
import type { TeamBurst } from "../../training/queue/model.ts";
import { EXIT, UsageError, type Verb } from "../command.ts";
import { connect, SERVER_OPTIONS } from "./connection.ts";
import { print, printJson } from "./output.ts";

const PATH = "/v1/organization/burst";
/** Returns to the policy of the installation. */
const DEFAULT = "default";

export const teamBurst: Verb = {
  name: "team burst",
  summary: "Shows or sets when jobs of your team leave own machines for rented ones.",
  words: "[POLICY]",
  options: SERVER_OPTIONS,
  notes:
    "POLICY is local_only, cheapest, fastest or burst, the last also with limits such as burst:wait=30m,cost=20; or default, the policy of the installation. A job may have its own. For owners and administrators of the team.",
  async run(args) {
    const [word] = args.words;
    const burst = word === undefined || word === DEFAULT ? null : burstPolicyOf(word);
    if (word !== undefined && word !== DEFAULT && burst === null)
      throw new UsageError(`The policy ${BURST_TEXT_MESSAGE}, or ${DEFAULT}.`);
    const api = connect(args);
    const now = await (word === undefined
      ? api.call<TeamBurst>("GET", PATH)
      : api.call<TeamBurst>("POST", PATH, { burst }));
    if (args.on("json")) printJson(now);
    else if (now.burst) print(`${burstPolicyText(now.burst)}${now.locked ? " (locked)" : ""}\n`);
    else print(`${DEFAULT} (${burstPolicyText(now.installation)})${now.locked ? " (locked)" : ""}\n`);
    return EXIT.ok;
  },
};
