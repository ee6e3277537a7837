/** The prices and free allowances of a price list as tables. */
import type { FreeView, ItemView, PriceListView } from "../../../src/billing/prices/model.ts";
import { formatNumber, formatPrice } from "../../../src/lib/text/format.ts";
import { Table } from "../../parts/table.tsx";

/** `$2.50`, or `provider's price + 15%`. */
const priceText = (usd: number | null, percent: number | null): string =>
  percent === null ? formatPrice(usd ?? 0) : percent === 0 ? "provider's price" : `provider's price + ${percent}%`;

/** What a price is for: `NVIDIA H100, docker`; `all` when it matches everything. */
const matchText = ({ gpu_model, provider, model }: Pick<ItemView, "gpu_model" | "provider" | "model">): string =>
  [gpu_model, provider, model].filter((one) => one !== null).join(", ") || "all";

/** `100 GPU-hours`; units such as `million input tokens` are plural already. */
const amountText = ({ amount, unit }: FreeView) =>
  `${formatNumber(amount, 6)} ${unit}${amount === 1 || unit.endsWith("s") ? "" : "s"}`;

export function PriceTable({ list }: { list: PriceListView }) {
  return (
    <>
      {list.items.length === 0 ? (
        <div class="body small muted">No prices: what no other list has a price for costs $0.</div>
      ) : (
        <Table
          still
          label="Prices"
          rows={list.items.map((item, n) => ({ ...item, n }))}
          rowId={(row) => `${list.id}-${row.n}`}
          columns={[
            { key: "for", label: "For", name: true, render: (row) => <span dir="auto">{matchText(row)}</span> },
            { key: "unit", label: "Unit", tight: true, render: (row) => row.unit },
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
      {list.free.length > 0 ? (
        <div class="body small">Free in every month: {list.free.map(amountText).join(", ")}.</div>
      ) : null}
    </>
  );
}
