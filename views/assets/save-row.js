// Saves a conversation of the playground as a training row: in a new version of a dataset, or in a new dataset.
const dialog = document.getElementById("save-row");
const form = dialog.querySelector("[data-save-row]");
const errorLine = dialog.querySelector("[data-save-error]");
const TRIES = 8;
const PAUSE_MS = 700;

let messages = [];
let tools;
let opener = null;

const toggleName = () => {
  dialog.querySelector("[data-new-name]").hidden = form.elements.dataset.value !== "";
};

/**
 * Opens the form for `conversation`, whose last message is the answer; `button` becomes a link to the saved row. The
 * row gets the `definitions` of tools, and the answer's calls, which can be edited as JSON.
 */
export function openSaveRow(conversation, button, definitions) {
  messages = conversation;
  tools = definitions;
  opener = button;
  const before = dialog.querySelector("[data-before]");
  before.replaceChildren(
    ...messages.slice(0, -1).flatMap(({ role, content, tool_calls: calls = [] }) => {
      const who = document.createElement("b");
      who.textContent = role[0].toUpperCase() + role.slice(1);
      const said = document.createElement("p");
      said.dir = "auto";
      said.textContent = [content, ...calls.map((call) => `${call.function.name}(${call.function.arguments})`)]
        .filter(Boolean)
        .join("\n");
      return [who, said];
    }),
  );
  dialog.querySelector("[data-earlier]").hidden = !messages.slice(0, -1).some(({ role }) => role === "assistant");
  const { content, tool_calls: calls } = messages.at(-1);
  form.elements.answer.value = content;
  form.elements.answer.required = !calls;
  dialog.querySelector("[data-calls]").hidden = !calls;
  form.elements.calls.value = calls
    ? JSON.stringify(
        calls.map((call) => call.function),
        null,
        1,
      )
    : "";
  errorLine.hidden = true;
  toggleName();
  dialog.showModal();
  form.elements.answer.focus();
}

/** The row of the form: earlier answers are context only, unless the user includes them in the loss. */
function rowOf() {
  const earlier = form.elements.earlier.checked;
  const before = messages
    .slice(0, -1)
    .map((message) => (message.role === "assistant" && !earlier ? { ...message, weight: 0 } : message));
  return {
    messages: [...before, { role: "assistant", content: form.elements.answer.value, ...callsOf() }],
    ...(tools ? { tools } : {}),
  };
}

/** The calls of the form, with the ids of the answer's own. @throws Error when they are not a JSON list */
function callsOf() {
  const given = messages.at(-1).tool_calls;
  if (!given || !form.elements.calls.value.trim()) return {};
  let calls;
  try {
    calls = JSON.parse(form.elements.calls.value);
  } catch (error) {
    throw new Error(`The tool calls are not valid JSON: ${error.message}`);
  }
  if (!Array.isArray(calls)) throw new Error("The tool calls must be a list, [{…}, …].");
  return {
    tool_calls: calls.map((call, n) => ({ id: given[n]?.id ?? `call_${n + 1}`, type: "function", function: call })),
  };
}

async function post(path, type, body) {
  for (let left = TRIES; ; left--) {
    const answer = await fetch(path, { method: "POST", headers: { "content-type": type }, body });
    const found = await answer.json();
    if (answer.ok) return found;
    // The previous version is still being validated.
    if (found.error?.code !== "version_validating" || left === 0) throw new Error(found.error?.message);
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

async function save() {
  const row = JSON.stringify(rowOf());
  const { dataset, name } = form.elements;
  if (dataset.value) {
    const version = await post(`/v1/datasets/${dataset.value}/rows`, "application/json", row);
    return { id: version.dataset_id, words: `${dataset.selectedOptions[0].text}, version ${version.number}` };
  }
  const title = name.value.trim() || "playground";
  const query = new URLSearchParams({ filename: `${title}.jsonl`, name: title });
  const created = await post(`/v1/datasets?${query}`, "application/jsonl", `${row}\n`);
  const option = new Option(created.name, created.id);
  dataset.prepend(option);
  option.selected = true;
  return { id: created.id, words: created.name };
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (form.classList.contains("sending")) return;
  form.classList.add("sending");
  errorLine.hidden = true;
  try {
    const { id, words } = await save();
    const link = document.createElement("a");
    link.className = "small";
    link.href = `/datasets/${id}`;
    link.textContent = `Saved to ${words}`;
    dialog.close();
    opener.replaceWith(link);
    link.focus();
  } catch (error) {
    errorLine.textContent = error.message || "The server did not respond. Check the connection and try again.";
    errorLine.hidden = false;
  } finally {
    form.classList.remove("sending");
  }
});
form.elements.dataset.addEventListener("change", toggleName);
dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
