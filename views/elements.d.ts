/** Elements of our own in JSX: htmx's partial and the chart. */
import type { HTMLAttributes } from "preact";

declare module "preact" {
  namespace JSX {
    interface IntrinsicElements {
      /** Part of an answer that goes to another place of the page: `hx-target`, `hx-swap`. */
      "hx-partial": HTMLAttributes<HTMLElement>;
      /** See views/parts/chart.tsx. */
      "ft-chart": HTMLAttributes<HTMLElement>;
    }
  }
}
