/** A message in the page or a toast: what happened and what to do. */
import { type ComponentChildren, toChildArray } from "preact";
import { withCode } from "./code-spans.tsx";
import { Icon, type IconName } from "./icons.tsx";

const ICONS: Record<string, IconName> = { ok: "ok", bad: "failed", warn: "warn", info: "info" };

/** Text with links and code in it is one paragraph; parts without text between them stand below each other. */
function wordsOf(children: ComponentChildren): ComponentChildren {
  const parts = toChildArray(children);
  const isText = parts.some((part) => typeof part === "string" && part.trim());
  return isText ? <div>{withCode(parts)}</div> : parts;
}

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
        {props.title ? <strong>{withCode(props.title)}</strong> : null}
        {wordsOf(props.children)}
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
