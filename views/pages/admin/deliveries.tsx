/** Webhooks and mails that could not be sent, of the whole installation. */
import type { Listed } from "../../../src/lib/page.ts";
import type { DeliveryView } from "../../../src/notices/webhooks/model.ts";
import { usePage } from "../../context.ts";
import { Tabs } from "../../parts/form.tsx";
import { Empty } from "../../parts/notice.tsx";
import { liveOn, Pager } from "../../parts/table.tsx";
import { DeliveryTable } from "../settings/webhooks.tsx";
import { AdminLayout } from "./frame.tsx";

export interface DeliveriesProps {
  deliveries: Listed<DeliveryView>;
  status: DeliveryView["status"];
}

const DELIVERY_TABS = [
  { key: "dead", label: "Given up" },
  { key: "waiting", label: "Waiting" },
  { key: "sent", label: "Sent" },
] as const;

const NOTHING = {
  dead: "Every webhook and mail was delivered, or is still being tried.",
  waiting: "Nothing waits to be sent.",
  sent: "Nothing was sent yet.",
} as const;

export function DeliveryList({ deliveries, status }: DeliveriesProps) {
  const { url } = usePage();
  return (
    <section class="panel" id="all-deliveries" aria-label="Deliveries" {...liveOn(url, "deliveries")}>
      {deliveries.items.length === 0 ? (
        <Empty slim icon="ok" title={NOTHING[status]} />
      ) : (
        <DeliveryTable where rows={deliveries.items} action={(row) => `/admin/deliveries/${row.id}/resend`} />
      )}
      <Pager
        shown={deliveries.items.length}
        hasMore={deliveries.hasMore}
        last={deliveries.last}
        fragment="all-deliveries"
      />
    </section>
  );
}

export function DeliveriesPage(props: DeliveriesProps) {
  return (
    <AdminLayout title="Deliveries" live={{ topics: ["deliveries"] }}>
      <p class="small muted">
        A webhook or mail that fails is tried again for about three days. Then it is given up and waits here.
      </p>
      <Tabs label="State" name="status" tabs={[...DELIVERY_TABS]} />
      <DeliveryList {...props} />
    </AdminLayout>
  );
}
