/** Hides what the viewer's role may not do, by the same table of permissions that refuses it. */
import type { ComponentChildren, JSX } from "preact";
import { usePage } from "../context.ts";

type Props<T extends "form" | "a"> = JSX.IntrinsicElements[T] & Record<`data-${string}`, unknown>;

const addressOf = (value: unknown) => String(value ?? "").split(/[?#]/)[0] ?? "";

/**
 * `children`, when the viewer may send this request; nothing otherwise. `owner`: who created what it deletes or stops.
 */
export function Allowed(props: { method?: "GET" | "POST"; path: string; owner?: string; children: ComponentChildren }) {
  const { viewer } = usePage();
  if (viewer && !viewer.may(props.method ?? "POST", addressOf(props.path))) return null;
  if (viewer && props.owner !== undefined && !viewer.owns(props.owner)) return null;
  return <>{props.children}</>;
}

/** A form that changes something; hidden from viewers who may not send it. */
export function PostForm({ owner, ...props }: Props<"form"> & { owner?: string }) {
  return (
    <Allowed path={addressOf(props.action)} owner={owner}>
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
