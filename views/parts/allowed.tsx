/** Hides what the viewer's role may not do, by the same table of permissions that refuses it. */
import type { ComponentChildren, JSX } from "preact";
import { usePage } from "../context.ts";

type Props<T extends "form" | "a"> = JSX.IntrinsicElements[T] & Record<`data-${string}`, unknown>;

const addressOf = (value: unknown) => String(value ?? "").split(/[?#]/)[0] ?? "";

/** `children`, when the viewer may send this request; nothing otherwise. */
export function Allowed(props: { method?: "GET" | "POST"; path: string; children: ComponentChildren }) {
  const { viewer } = usePage();
  const allowed = viewer?.may(props.method ?? "POST", addressOf(props.path)) ?? true;
  return allowed ? props.children : null;
}

/** A form that changes something; hidden from viewers who may not send it. */
export function PostForm(props: Props<"form">) {
  return (
    <Allowed path={addressOf(props.action)}>
      <form {...props} method="post" />
    </Allowed>
  );
}

/** A link to a page that not every role may open. */
export function RoleLink(props: Props<"a">) {
  return (
    <Allowed method="GET" path={addressOf(props.href)}>
      <a {...props} />
    </Allowed>
  );
}
