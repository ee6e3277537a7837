/** Form parts: fields with their errors, filters, tabs, and confirmation of destructive actions. */
import type { ComponentChildren } from "preact";
import { usePage, withQuery } from "../context.ts";
import { Allowed, PostForm } from "./allowed.tsx";
import { withCode } from "./code-spans.tsx";
import { Icon, type IconName } from "./icons.tsx";
import { Notice } from "./notice.tsx";
import { swap } from "./table.tsx";

/** A labeled control. `render` gets the attributes that connect control, hint and error. */
export function Field(props: {
  id: string;
  label: string;
  hint?: ComponentChildren;
  error?: string | null;
  render: (attributes: { id: string; "aria-describedby"?: string; "aria-invalid"?: "true" }) => ComponentChildren;
}) {
  const described = [props.error && `${props.id}-error`, props.hint && `${props.id}-hint`].filter(Boolean).join(" ");
  return (
    <div class="field">
      <label for={props.id}>{props.label}</label>
      {props.render({
        id: props.id,
        "aria-describedby": described || undefined,
        "aria-invalid": props.error ? "true" : undefined,
      })}
      {props.error ? (
        <div class="error" id={`${props.id}-error`}>
          <Icon name="warn" />
          <span>{withCode(props.error)}</span>
        </div>
      ) : null}
      {props.hint ? (
        <div class="hint" id={`${props.id}-hint`}>
          {withCode(props.hint)}
        </div>
      ) : null}
    </div>
  );
}

interface TextFieldProps {
  name: string;
  label: string;
  hint?: ComponentChildren;
  error?: string | null;
  type?: "text" | "date" | "email" | "password" | "number" | "url";
  value?: string;
  required?: boolean;
  readonly?: boolean;
  autofocus?: boolean;
  autocomplete?: string;
  placeholder?: string;
  pattern?: string;
  inputmode?: "text" | "numeric" | "decimal" | "email" | "url";
  minlength?: number;
  maxlength?: number;
  list?: string;
}

/** The common case: a labeled input. */
export function TextField({ label, hint, error, ...rest }: TextFieldProps) {
  // JSX has a separate type for each kind of input; here the kind is a parameter.
  const input: Record<string, unknown> = rest;
  return (
    <Field
      id={`field-${rest.name}`}
      label={label}
      hint={hint}
      error={error}
      render={(ids) => <input {...input} {...ids} />}
    />
  );
}

/** Filters above a list: a GET form that updates while the user types and also works with Enter alone. */
export function Filters(props: {
  /** Id of the element that the answer replaces. */
  fragment: string;
  search?: { placeholder: string };
  /** Parameters of the address that stay, besides `sort`. */
  kept?: string[];
  children?: ComponentChildren;
}) {
  const { url } = usePage();
  const kept = ["sort", ...(props.kept ?? [])].flatMap((name) =>
    url.searchParams.get(name) ? [[name, url.searchParams.get(name) ?? ""]] : [],
  );
  return (
    <search>
      <form
        class="filters"
        method="get"
        action={url.pathname}
        hx-get={url.pathname}
        hx-target={`#${props.fragment}`}
        hx-push-url="true"
        hx-swap="outerMorph"
        hx-sync="this:replace"
        hx-trigger="submit, change, input changed delay:200ms target:input[type=search]"
      >
        {props.search ? (
          <input
            type="search"
            name="q"
            data-page-search
            value={url.searchParams.get("q") ?? ""}
            placeholder={props.search.placeholder}
            aria-label={props.search.placeholder}
            autocomplete="off"
          />
        ) : null}
        {props.children}
        {kept.map(([name, value]) => (
          <input type="hidden" name={name} value={value} />
        ))}
        <button type="submit" class="button only-without-script">
          Filter
        </button>
      </form>
    </search>
  );
}

/** A select in a filter form. `options`: value and label; the empty value means all. */
export function FilterSelect(props: { name: string; label: string; options: [string, string][] }) {
  const { url } = usePage();
  const value = url.searchParams.get(props.name) ?? "";
  return (
    <select name={props.name} aria-label={props.label}>
      {props.options.map(([key, label]) => (
        <option value={key} selected={key === value}>
          {label}
        </option>
      ))}
    </select>
  );
}

/** The filter of a list by who created its objects. */
export const CreatorFilter = () => (
  <FilterSelect
    name="created_by"
    label="Created by"
    options={[
      ["", "By anybody"],
      ["me", "By me"],
    ]}
  />
);

/** Tabs as links: `?tab=`. The first is the default. */
export function Tabs(props: {
  label: string;
  tabs: { key: string; label: string; count?: number }[];
  fragment?: string;
  name?: string;
}) {
  const { url } = usePage();
  const name = props.name ?? "tab";
  const current = url.searchParams.get(name) ?? props.tabs[0]?.key;
  return (
    <nav class="tabs" aria-label={props.label}>
      {props.tabs.map((tab, index) => {
        const href = withQuery(url, { [name]: index === 0 ? null : tab.key });
        return (
          <a href={href} aria-current={tab.key === current ? "page" : undefined} {...swap(href, props.fragment)}>
            {tab.label}
            {tab.count === undefined ? null : <span class="count">{tab.count}</span>}
          </a>
        );
      })}
    </nav>
  );
}

/**
 * A button with a confirmation; works without scripts. `lost` says what will be lost; `typeName` requires typing the
 * name.
 */
export function ConfirmForm(props: {
  id: string;
  action: string;
  /** Label of the button in the page: `Cancel job`. */
  label: string;
  icon?: ComponentChildren;
  title: string;
  lost: ComponentChildren;
  /** Label of the confirming button: `Cancel this job`. */
  verb: string;
  /** Text that the user must type to confirm. */
  typeName?: string;
  /** Asks for the user's password, as the field `password`. */
  password?: boolean;
  fields?: Record<string, string>;
  /** Class of the button in the page. */
  buttonClass?: string;
  /** Who created what is deleted or stopped: only they and the managers of the team see the button. */
  owner?: string;
  /** More fields. */
  children?: ComponentChildren;
}) {
  const id = `confirm-${props.id}`;
  return (
    <Allowed path={props.action} owner={props.owner}>
      <button type="button" class={props.buttonClass ?? "button"} popovertarget={id}>
        {props.icon}
        {props.label}
      </button>
      <div id={id} class="confirm" popover="auto" role="dialog" aria-labelledby={`${id}-title`}>
        <h2 id={`${id}-title`}>{props.title}</h2>
        <div class="muted">{props.lost}</div>
        <PostForm action={props.action} class="form">
          {Object.entries(props.fields ?? {}).map(([name, value]) => (
            <input type="hidden" name={name} value={value} />
          ))}
          {props.typeName ? (
            <div class="field">
              <label for={`${id}-name`}>
                Type <code>{props.typeName}</code> to confirm
              </label>
              <input id={`${id}-name`} name="confirm" required autocomplete="off" data-must-equal={props.typeName} />
            </div>
          ) : null}
          {props.children}
          {props.password ? (
            <div class="field">
              <label for={`${id}-password`}>Your password</label>
              <input
                id={`${id}-password`}
                name="password"
                type="password"
                required
                maxlength={1000}
                autocomplete="current-password"
              />
            </div>
          ) : null}
          <div class="row">
            <button type="button" class="button" popovertarget={id} popovertargetaction="hide">
              Back
            </button>
            <button type="submit" class="button danger solid">
              {props.verb}
            </button>
          </div>
        </PostForm>
      </div>
    </Allowed>
  );
}

/** A button that opens a form over the page; works without scripts. `children` are its fields. */
export function SheetForm(props: {
  id: string;
  action: string;
  /** Label of the button in the page: `Invite user`. */
  label: string;
  icon?: IconName;
  title: string;
  /** Label of the submit button. */
  verb: string;
  buttonClass?: string;
  /** The form was refused: it is open again, with this message. */
  error?: string;
  /** Who created what it changes, when only they and the managers of the team may. */
  owner?: string;
  children: ComponentChildren;
}) {
  const id = `sheet-${props.id}`;
  return (
    <Allowed path={props.action} owner={props.owner}>
      <button type="button" class={props.buttonClass ?? "button primary"} popovertarget={id}>
        {props.icon ? <Icon name={props.icon} /> : null}
        {props.label}
      </button>
      <div
        id={id}
        class="sheet confirm"
        popover="auto"
        role="dialog"
        aria-labelledby={`${id}-title`}
        data-open={props.error ? "" : undefined}
      >
        <h2 id={`${id}-title`}>{props.title}</h2>
        {props.error ? (
          <Notice kind="bad" alert>
            {props.error}
          </Notice>
        ) : null}
        <PostForm action={props.action} class="form">
          {props.children}
          <div class="row">
            <button type="button" class="button" popovertarget={id} popovertargetaction="hide">
              Back
            </button>
            <button type="submit" class="button primary">
              {props.verb}
            </button>
          </div>
        </PostForm>
      </div>
    </Allowed>
  );
}

/** A form with one button. */
export function ActionButton(props: {
  action: string;
  children: ComponentChildren;
  class?: string;
  fields?: Record<string, string>;
  title?: string;
  /** What the button does, when its words alone do not say it. */
  label?: string;
  /** Who created what the button stops: only they and the managers of the team see it. */
  owner?: string;
}) {
  return (
    <PostForm action={props.action} owner={props.owner}>
      {Object.entries(props.fields ?? {}).map(([name, value]) => (
        <input type="hidden" name={name} value={value} />
      ))}
      <button type="submit" class={`button ${props.class ?? ""}`} title={props.title} aria-label={props.label}>
        {props.children}
      </button>
    </PostForm>
  );
}
