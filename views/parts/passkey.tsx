/** A form that asks the browser for a passkey; hidden where the browser has no script or knows none. */
import type { ComponentChildren } from "preact";

export function PasskeyForm(props: {
  /** What it is for: `enroll` creates a passkey, anything else uses one. */
  purpose: "enroll" | "sign_in" | "second_step" | "prove";
  action: string;
  /** Hidden fields. */
  fields?: Record<string, string>;
  /** Names of the fields with the state and the browser's answer. */
  names?: { state: string; credential: string };
  /** Where the script asks what the browser needs. */
  options?: string;
  /** Offers passkeys in the field of the address too. */
  autofill?: boolean;
  label: string;
  buttonClass?: string;
  children?: ComponentChildren;
}) {
  const { buttonClass = "button block" } = props;
  const { state, credential } = props.names ?? { state: "state", credential: "credential" };
  return (
    <form
      class="form"
      method="post"
      action={props.action}
      hidden
      data-passkey={props.purpose}
      data-options={props.options ?? "/passkey/options"}
      data-autofill={props.autofill ? "" : undefined}
    >
      {Object.entries(props.fields ?? {}).map(([name, value]) => (
        <input type="hidden" name={name} value={value} />
      ))}
      <input type="hidden" name={state} data-state />
      <input type="hidden" name={credential} data-credential />
      {props.children}
      <div class={buttonClass.includes("block") ? undefined : "row"}>
        <button type="submit" class={buttonClass}>
          {props.label}
        </button>
      </div>
      <div class="error-line" role="alert" data-problem hidden />
    </form>
  );
}
