/** A message in the page or a toast: what happened and what to do. */
import type { ComponentChildren } from "preact";
import { Icon, type IconName } from "./icons.tsx";

const ICONS: Record<string, IconName> = { ok: "ok", bad: "failed", warn: "warn", info: "info" };

export function Notice(props: {
  kind: "ok" | "bad" | "warn" | "info";
  title?: string;
  /** Announced by screen readers immediately. */
  alert?: boolean;
  children?: ComponentChildren;
}) {
  return (
    <div class={`notice ${props.kind}`} role={props.alert ? "alert" : undefined}>
      <Icon name={ICONS[props.kind] ?? "info"} />
      <div>
        {props.title ? <strong>{props.title}</strong> : null}
        {props.children}
      </div>
    </div>
  );
}

/** What an empty list is for, and the action that fills it. */
export function Empty(props: {
  icon: IconName;
  title: string;
  slim?: boolean;
  children?: ComponentChildren;
  action?: ComponentChildren;
}) {
  return (
    <div class={props.slim ? "empty slim" : "empty"}>
      <Icon name={props.icon} />
      <h2>{props.title}</h2>
      {props.children ? <p>{props.children}</p> : null}
      {props.action ? <div class="row">{props.action}</div> : null}
    </div>
  );
}
