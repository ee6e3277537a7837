/** What a vendor last said about the account of a provider. It is asked every few minutes. */
import type { AccountState } from "../../../src/compute/limits/model.ts";
import { Notice } from "../../parts/notice.tsx";
import { Time } from "../../parts/value.tsx";

/** @param balance shows the balance too, where no figure beside it does */
export function AccountFacts({ account, balance = false }: { account: AccountState; balance?: boolean }) {
  return (
    <div class="stack tight">
      {account.error ? (
        <Notice kind="warn" title="The account could not be checked">
          {account.error}
        </Notice>
      ) : account.low ? (
        <Notice kind="warn" title="The balance is low">
          When it is used up, the vendor stops the machines that run there.
        </Notice>
      ) : null}
      <p class="small muted">
        {balance && account.balance_usd !== null ? <span>Balance ${account.balance_usd.toFixed(2)} · </span> : null}
        {account.quotas.map(({ name, region, limit, used }) => (
          <span>
            Quota {name}
            {region ? ` in ${region}` : ""}: {used ?? "?"} of {limit ?? "?"} used ·{" "}
          </span>
        ))}
        Account checked <Time at={account.checked_at} />
      </p>
    </div>
  );
}
