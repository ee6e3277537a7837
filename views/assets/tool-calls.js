// Tool calls in the playground: the definitions that requests get, calls as they stream, and results typed by hand.

/**
 * The JSON typed into `field`, as `accept` returns it; undefined when there is none. Reports text that is not valid by
 * the field's own error line. @throws Error when it is not valid
 */
export function readJson(field, accept) {
  const line = document.getElementById(`${field.id}-problem`);
  line.hidden = true;
  const text = field.value.trim();
  if (!text) return undefined;
  try {
    return accept(JSON.parse(text));
  } catch (error) {
    const what = field.name === "tools" ? "The tools are not a valid JSON list" : "The schema is not valid JSON";
    line.textContent = `${what}: ${error.message}`;
    line.hidden = false;
    throw error;
  }
}

/** The tool definitions typed into `field`; undefined when there are none. @throws Error when they are not valid */
export const readTools = (field) =>
  readJson(field, (tools) => {
    if (!Array.isArray(tools)) throw new Error("expected a list, [{…}, …]");
    // A bare function definition is accepted too.
    return tools.map((tool) => (tool?.name && !tool.function ? { type: "function", function: tool } : tool));
  });

/** Adds the pieces of a streamed chunk to the calls of an answer. */
export function addCalls(calls, pieces) {
  for (const { index, id, function: piece } of pieces ?? []) {
    calls[index] ??= { id: "", type: "function", function: { name: "", arguments: "" } };
    calls[index].id ||= id ?? "";
    calls[index].function.name += piece?.name ?? "";
    calls[index].function.arguments += piece?.arguments ?? "";
  }
}

/** A call as text, as on other pages. */
const shown = ({ function: { name, arguments: given } }) => `${name}(${given})`;

/** Shows calls below an answer; `said` is its text, which may be empty. */
export function showCalls(said, calls) {
  let box = said.parentElement.querySelector(".calls");
  if (!box) {
    box = document.createElement("div");
    box.className = "calls stack tight";
    said.after(box);
  }
  said.hidden = said.textContent === "";
  box.replaceChildren(
    ...calls.map((call) => {
      const line = document.createElement("div");
      line.className = "call";
      line.textContent = shown(call);
      return line;
    }),
  );
  return box;
}

/** Adds a form for the results of calls to their box; `send` gets the tool messages. */
export function askResults(box, calls, send) {
  const form = document.createElement("div");
  form.className = "stack tight";
  const inputs = calls.map((call) => {
    const input = document.createElement("input");
    input.type = "text";
    input.placeholder = `Result of ${call.function.name}`;
    input.setAttribute("aria-label", input.placeholder);
    form.append(input);
    return input;
  });
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button small";
  button.textContent = calls.length === 1 ? "Send result" : "Send results";
  const submit = () =>
    send(calls.map(({ id }, n) => ({ role: "tool", tool_call_id: id, content: inputs[n].value }))) && form.remove();
  button.addEventListener("click", submit);
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    event.stopPropagation();
    submit();
  });
  form.append(button);
  box.append(form);
}
