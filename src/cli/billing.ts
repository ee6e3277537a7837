/** `billing verify`: checks the ledger from the command line, through the running server or on the data directory. */
import type { LedgerVerification } from "../billing/ledger/model.ts";
import { command } from "./accounts.ts";
import { CONFIG_OPTIONS, EXIT, type Verb } from "./command.ts";

export const billingVerify: Verb = {
  name: "billing verify",
  summary: "Checks that metered use, ledger, budgets and statements agree. Exit code 1 when they do not.",
  options: { data: CONFIG_OPTIONS.data },
  notes:
    "Changes nothing of what it checks, also while the server runs. Administrators see the last result on a page. Each check is printed with how much it compared and what is wrong.",
  async run(args) {
    const { checks } = (await command(args, "billing.verify", {})) as Pick<LedgerVerification, "checks">;
    for (const { name, checked, violations } of checks) {
      process.stdout.write(`${violations.length ? "WRONG" : "ok   "}  ${name} (${checked})\n`);
      for (const one of violations) process.stdout.write(`         ${one}\n`);
    }
    return checks.some(({ violations }) => violations.length > 0) ? EXIT.failed : EXIT.ok;
  },
};
