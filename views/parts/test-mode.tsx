/** Says that no money moves, wherever amounts of Stripe are shown. */
import { Notice } from "./notice.tsx";

export function TestMode({ mode }: { mode: "test" | "live" | null }) {
  if (mode !== "test") return null;
  return (
    <Notice kind="warn" title="Test mode">
      The key of Stripe is a test key: no card is charged and no money moves.
    </Notice>
  );
}
