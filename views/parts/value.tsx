/** Parts that show one value: times, copyable ids, labeled numbers, pairs, progress, sparklines. */
import type { ComponentChildren } from "preact";
import { formatBytes, formatDuration, formatExact, formatRelative, shortId } from "../../src/lib/text/format.ts";
import { usePage } from "../context.ts";
import { withCode } from "./code-spans.tsx";
import { Icon } from "./icons.tsx";

/** A relative time with the exact one on hover; updated by app.js. `at` in milliseconds since 1970. */
export function Time({ at }: { at: number | null | undefined }) {
  const { now } = usePage();
  if (at === null || at === undefined) return <span class="muted">–</span>;
  return (
    <time dateTime={new Date(at).toISOString()} title={formatExact(at)} data-relative={String(at)}>
      {formatRelative(at, now)}
    </time>
  );
}

/** How long something took, or has taken so far (then it counts up). Milliseconds since 1970. */
export function Took({ from, to }: { from: number | null | undefined; to: number | null | undefined }) {
  const { now } = usePage();
  if (!from) return <span class="muted">–</span>;
  return (
    <span class="num" data-since={to ? undefined : String(from)}>
      {formatDuration(((to ?? now) - from) / 1000)}
    </span>
  );
}

/** A shortened id; a click copies the full id. */
export function CopyId({ id, full = false }: { id: string; full?: boolean }) {
  return (
    <button type="button" class="copy" data-copy={id} title={`Copy ${id}`}>
      <span class={full ? "wrap-any" : "clip"}>{full ? id : shortId(id)}</span>
      <Icon name="copy" />
      <span class="visually-hidden">Copy</span>
    </button>
  );
}

/** Code or a command in a box with a copy button. */
export function Snippet({ text, label }: { text: string; label: string }) {
  return (
    <div class="snippet">
      <section tabindex={0} aria-label={label}>
        <pre>{text}</pre>
      </section>
      <button type="button" class="button plain icon-only small" data-copy={text} title="Copy">
        <Icon name="copy" />
        <span class="visually-hidden">Copy</span>
      </button>
    </div>
  );
}

/** A row of labeled numbers; contains `Stat`s. */
export function Stats({ children }: { children: ComponentChildren }) {
  return <dl class="stats">{children}</dl>;
}

/** One number of the row; `big` marks the one that matters most. All have one size. */
export function Stat(props: { label: string; big?: boolean; note?: ComponentChildren; children: ComponentChildren }) {
  return (
    <div class={props.big ? "stat big" : "stat"}>
      <dt>{props.label}</dt>
      <dd>
        {props.children}
        {props.note ? <span class="note">{props.note}</span> : null}
      </dd>
    </div>
  );
}

/** A list of names and values. A value of null omits its line; the third entry is an explanation. */
export function KeyValue({ rows }: { rows: ([string, ComponentChildren, string?] | null | false)[] }) {
  return (
    <dl class="pairs">
      {rows.map((row) =>
        row && row[1] !== null && row[1] !== undefined ? (
          <>
            <dt>{row[0]}</dt>
            <dd>
              {row[1]}
              {row[2] ? <div class="why">{withCode(row[2])}</div> : null}
            </dd>
          </>
        ) : null,
      )}
    </dl>
  );
}

/** Progress bar with text on both sides. `fraction` 0 to 1, null = unknown. */
export function Progress(props: {
  label: string;
  fraction: number | null;
  left?: ComponentChildren;
  right?: ComponentChildren;
}) {
  return (
    <div class="progress">
      <progress aria-label={props.label} max={1} value={props.fraction ?? undefined} />
      {props.left || props.right ? (
        <div class="words">
          <span>{props.left}</span>
          <span class="num">{props.right}</span>
        </div>
      ) : null}
    </div>
  );
}

/** How full something is, in bytes; amber above 85%. Memory and disk have the same form everywhere. */
export function SpaceBar({ label, used, total }: { label: string; used: number; total: number }) {
  const fraction = total > 0 ? Math.min(1, Math.max(0, used / total)) : 0;
  const full = fraction > 0.85;
  return (
    <div class={full ? "progress full" : "progress"}>
      <div class="words">
        <span>{label}</span>
        <span class="num">
          {full ? <Icon name="warn" /> : null}
          {formatBytes(used)} of {formatBytes(total)} ({Math.round(fraction * 100)}%)
        </span>
      </div>
      <progress aria-label={`${label} in use`} max={1} value={fraction} />
    </div>
  );
}

/** A small curve without axes. Values in order; gaps (null) are skipped. */
export function Sparkline({ values, label }: { values: (number | null)[]; label: string }) {
  const points = values.flatMap((value, index) => (value !== null && Number.isFinite(value) ? [[index, value]] : []));
  if (points.length < 2) return <span class="spark" />;
  const ys = points.map(([, y = 0]) => y);
  const low = Math.min(...ys);
  const span = Math.max(...ys) - low || 1;
  const last = Math.max(1, values.length - 1);
  const path = points.map(
    ([x = 0, y = 0]) => `${((x / last) * 100).toFixed(1)},${(30 - ((y - low) / span) * 28).toFixed(1)}`,
  );
  return (
    <svg class="spark" viewBox="0 0 100 32" preserveAspectRatio="none" role="img" aria-label={label}>
      <path d={`M${path.join("L")}`} />
    </svg>
  );
}
