/** The status as last read: the page is public, so that a visitor must cost nothing. */
import { type Ctx, perContext } from "../../ctx.ts";
import type { IncidentView, StatusView } from "./model.ts";

const FRESH_MS = 15_000;

interface Kept {
  value: Promise<StatusView>;
  /** Pages of visitors, rendered from it, by theme. */
  pages: Map<string, string>;
  /** Monotonic milliseconds. */
  until: number;
}
interface Cache {
  now: Kept | null;
  /** Open incidents, for the banner of every page. */
  open: Promise<IncidentView[]> | null;
}
const keptOf = perContext((): Cache => ({ now: null, open: null }));

/** The kept status, or a newly read one. */
export function keptSummary(ctx: Ctx, read: () => Promise<StatusView>): Kept {
  const state = keptOf(ctx);
  const now = ctx.clock.monotonic();
  if (state.now && now < state.now.until) return state.now;
  const kept: Kept = { value: read(), pages: new Map(), until: now + FRESH_MS };
  state.now = kept;
  kept.value.catch(() => {
    if (state.now === kept) state.now = null;
  });
  return kept;
}

/** The kept open incidents, or newly read ones. */
export function keptOpen(ctx: Ctx, read: () => Promise<IncidentView[]>): Promise<IncidentView[]> {
  const state = keptOf(ctx);
  if (state.open) return state.open;
  const open = read();
  state.open = open;
  open.catch(() => {
    if (state.open === open) state.open = null;
  });
  return open;
}

/** Drops what was read: something changed. */
export function forgetSummary(ctx: Ctx): void {
  const state = keptOf(ctx);
  state.now = null;
  state.open = null;
}
