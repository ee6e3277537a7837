/** `/pricing`: the prices that apply to the viewer, and those that take effect later. */

import type { ComponentChildren } from "preact";
import type { CurrentPrices, PriceListView } from "../../../src/billing/prices/model.ts";
import { usePage } from "../../context.ts";
import { BareLayout, Layout } from "../../layout.tsx";
import { Empty } from "../../parts/notice.tsx";
import { PriceTable } from "./tables.tsx";

function List({ list, title }: { list: PriceListView; title: string }) {
  const later = list.state === "announced" || list.state === "scheduled";
  return (
    <section class="panel" aria-label={title}>
      <header>
        <h2>{title}</h2>
        <span class="small muted">
          {later ? "From" : "Since"} {list.effective_date}
        </span>
      </header>
      {list.note ? <div class="body small wrap-any">{list.note}</div> : null}
      <PriceTable list={list} />
    </section>
  );
}

const upcomingTitle = ({ organization, effective_date }: PriceListView) =>
  organization === null ? `New prices on ${effective_date}` : `New prices for your team on ${effective_date}`;

/** With the menu, or bare for visitors. */
function Frame({ children }: { children: ComponentChildren }) {
  if (usePage().viewer) return <Layout title="Prices">{children}</Layout>;
  return (
    <BareLayout title="Prices" wide>
      <h1>Prices</h1>
      {children}
    </BareLayout>
  );
}

export function PricingPage({ prices }: { prices: CurrentPrices }) {
  const { list, own, upcoming } = prices;
  const some = list !== null || own !== null;
  return (
    <Frame>
      <div class="stack">
        {some || upcoming.length > 0 ? (
          <p class="small muted">
            In US dollars. The most specific price applies. A job keeps the prices that it started with; a raise is
            announced at least 30 days before it takes effect.
          </p>
        ) : (
          <Empty icon="info" title="Nothing has a price">
            Everything on this installation costs $0.
          </Empty>
        )}
        {own ? <List list={own} title="Your team" /> : null}
        {list ? <List list={list} title={own ? "Everything else" : "Prices"} /> : null}
        {upcoming.map((one) => (
          <List list={one} title={upcomingTitle(one)} />
        ))}
      </div>
    </Frame>
  );
}
