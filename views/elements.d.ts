/** JSX types of custom elements: the partial of htmx and the charts. */
import type { HTMLAttributes } from "preact";

declare module "preact" {
  namespace JSX {
    interface IntrinsicElements {
      /** A part of an answer for another element of the page: `hx-target`, `hx-swap`. */
      "hx-partial": HTMLAttributes<HTMLElement>;
      /** See views/parts/chart.tsx. */
      "ft-chart": HTMLAttributes<HTMLElement>;
      /** See views/parts/bars.tsx. */
      "ft-bars": HTMLAttributes<HTMLElement>;
    }
  }
}
