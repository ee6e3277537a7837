/** The prices and free allowances of a price list as tables. */
import type { FreeView, ItemView, PriceListView } from "../../../src/billing/prices/model.ts";
import { capitalize, formatNumber, formatPrice } from "../../../src/lib/text/format.ts";
import { Table } from "../../parts/table.tsx";

/** `$2.50`, or `cost + 15%`: of what the provider charges. */
export const priceText = (usd: number | null, percent: number | null): string =>
  percent === null ? formatPrice(usd ?? 0) : percent === 0 ? "at cost" : `cost + ${percent}%`;

/** What a price is for: `NVIDIA H100, docker`; `all` when it matches everything. */
export const matchText = ({ gpu_model, provider, model }: Pick<ItemView, "gpu_model" | "provider" | "model">): string =>
  [gpu_model, provider, model].filter((one) => one !== null).join(", ") || "all";

/** `100 GPU-hours`; units such as `million input tokens` are plural already. */
const amountText = ({ amount, unit }: FreeView) =>
  `${formatNumber(amount, 6)} ${unit}${amount === 1 || unit.endsWith("s") ? "" : "s"}`;

export function PriceTable({ list }: { list: PriceListView }) {
  return (
    <>
      {list.items.length === 0 ? (
        <div class="body small muted">No prices. Anything without a price in another list costs $0.</div>
      ) : (
        <Table
          still
          label="Prices"
          rows={list.items.map((item, n) => ({ ...item, n }))}
          rowId={(row) => `${list.id}-${row.n}`}
          columns={[
            {
              key: "what",
              label: "What",
              name: true,
              render: (row) => (
                <>
                  {capitalize(row.unit)}
                  {matchText(row) === "all" ? null : (
                    <span class="sub" dir="auto">
                      {matchText(row)}
                    </span>
                  )}
                </>
              ),
            },
            {
              key: "price",
              label: "Price",
              tight: true,
              end: true,
              render: (row) => priceText(row.price_usd, row.cost_plus_percent),
            },
          ]}
        />
      )}
      {list.items.some((item) => item.cost_plus_percent !== null) ? (
        <div class="body small muted">“cost” is what the provider of the machine charges.</div>
      ) : null}
      {list.free.length > 0 ? (
        <div class="body small">Free in every month: {list.free.map(amountText).join(", ")}.</div>
      ) : null}
    </>
  );
}
