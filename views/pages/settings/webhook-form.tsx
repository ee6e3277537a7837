/** The fields of a webhook: where it goes, in which form, and which events it wants. */
import { Field, TextField } from "../../parts/form.tsx";

/** A webhook as typed. */
export interface WebhookForm {
  name: string;
  url: string;
  format: string;
  events: string[];
}

/** Titles of the groups of event types, by the start of the type. */
const GROUPS: [string, RegExp][] = [
  ["Jobs", /^(fine_tuning|evaluation|export)\./],
  ["Deployments", /^deployment\./],
  ["Datasets", /^dataset\./],
  ["Security of accounts", /^security\./],
];

export function EventFields({ types, chosen }: { types: readonly string[]; chosen: readonly string[] }) {
  return (
    <>
      {GROUPS.map(([title, matches]) => {
        const own = types.filter((type) => matches.test(type));
        return own.length === 0 ? null : (
          <fieldset class="field event-types">
            <legend>{title}</legend>
            {own.map((type) => (
              <label class="check">
                <input type="checkbox" name="events" value={type} checked={chosen.includes(type)} />
                <code>{type}</code>
              </label>
            ))}
          </fieldset>
        );
      })}
    </>
  );
}

export function WebhookFields({ form, types }: { form: WebhookForm; types: readonly string[] }) {
  return (
    <>
      <TextField name="name" label="Name" required maxlength={100} value={form.name} placeholder="CI pipeline" />
      <TextField
        name="url"
        label="URL"
        type="url"
        required
        maxlength={2000}
        value={form.url}
        placeholder="https://example.com/hook"
      />
      <Field
        id="field-format"
        label="Format"
        render={(ids) => (
          <select name="format" {...ids}>
            <option value="openai" selected={form.format !== "slack"}>
              Signed events, as OpenAI sends them
            </option>
            <option value="slack" selected={form.format === "slack"}>
              Chat message (Slack, Mattermost, Rocket.Chat)
            </option>
          </select>
        )}
      />
      <EventFields types={types} chosen={form.events} />
    </>
  );
}
