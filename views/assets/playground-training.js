// What the playground knows of a model's training: its system message, and validation rows to try.
const ROWS = 50;
const known = new Map();
let current = null;
let at = 0;

const get = async (path) => {
  const answer = await fetch(path);
  return answer.ok ? answer.json() : null;
};

/** A chat row as what is asked and what is expected; null for other rows. */
function caseOf({ messages }) {
  if (!Array.isArray(messages) || messages.at(-1)?.role !== "assistant") return null;
  const system = messages[0]?.role === "system" ? messages[0].content : "";
  const asked = messages.slice(system ? 1 : 0, -1).filter(({ role }) => role === "user" || role === "assistant");
  const expected = messages.at(-1).content;
  if (!asked.length || typeof expected !== "string") return null;
  return { system, expected, messages: asked.map(({ role, content }) => ({ role, content })) };
}

/** The rows that a fine-tuned model was validated on, else training rows; null for a model without them. */
async function trainingOf(model) {
  const lineage = await get(`/v1/models/${encodeURIComponent(model)}/lineage`);
  const job = lineage?.job && (await get(`/v1/jobs/${encodeURIComponent(lineage.job.id)}`));
  if (!job) return null;
  const { dataset, validation } = job.spec;
  for (const [data, split] of [
    [validation, "train"],
    [dataset, "holdout"],
    [dataset, "train"],
  ]) {
    if (!data) continue;
    const query = new URLSearchParams({ version: data.version_id, split, limit: ROWS });
    const rows = ((await get(`/v1/datasets/${data.dataset_id}/rows?${query}`))?.data ?? []).flatMap(
      (row) => caseOf(row) ?? [],
    );
    if (rows.length)
      return { rows, name: lineage.job.name, kind: split === "train" && !validation ? "training" : "validation" };
  }
  return null;
}

/** The system message that all rows have; "" when they differ. */
const systemOf = ({ rows }) => (rows.every(({ system }) => system === rows[0].system) ? rows[0].system : "");

/** Offers the rows of the first fine-tuned model, and fills in its system message unless one is there. */
export async function showTraining(form, models) {
  const model = models.find((id) => id.startsWith("ft:"));
  if (model && !known.has(model)) known.set(model, await trainingOf(model).catch(() => null));
  current = model ? known.get(model) : null;
  at = 0;
  const button = form.querySelector("[data-try-row]");
  const note = form.querySelector("[data-system-note]");
  button.hidden = !current;
  note.hidden = true;
  if (!current) return;
  button.textContent = `Try a ${current.kind} row`;
  const system = systemOf(current);
  if (!system) return;
  if (!form.elements.system.value.trim()) {
    form.elements.system.value = system;
    form.dispatchEvent(new Event("input"));
  }
  note.hidden = false;
  note.textContent =
    form.elements.system.value.trim() === system.trim()
      ? `From the training data of ${current.name}.`
      : `Not the system message of the training data of ${current.name}.`;
}

/** The next row to try; null when there is none. */
export async function nextRow() {
  if (!current) return null;
  const row = current.rows[at % current.rows.length];
  at++;
  return row;
}
