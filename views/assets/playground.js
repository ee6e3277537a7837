// The playground: sends one message to the model of every pane, and streams the answers.
import { showCode } from "./playground-code.js";
import { keepState, restoreState, shareLink } from "./playground-state.js";
import { nextRow, showTraining } from "./playground-training.js";
import { openSaveRow } from "./save-row.js";
import { addCalls, askResults, readJson, readTools, showCalls } from "./tool-calls.js";

const form = document.querySelector("[data-playground]");
const panes = () => [...form.querySelectorAll("[data-pane]")];
const modelOf = (pane) => pane.querySelector("[data-model]").value;
const stopButton = form.querySelector("[data-stop]");
const MAX_PANES = 4;
let running = null;
/** The last request of the first pane, exactly as it was sent. */
let sent = null;

/** The conversation of each pane. */
const talks = new WeakMap();
const talkOf = (pane) => talks.get(pane) ?? talks.set(pane, []).get(pane);

const number = (name) => {
  const text = form.elements[name]?.value;
  return text === "" || text === undefined ? undefined : Number(text);
};

/** The requested form of the answer. @throws Error when the schema is not valid JSON */
function formatOf() {
  const schema = readJson(form.elements.schema, (value) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error("expected an object, {…}");
    return value;
  });
  if (!schema) return {};
  // A schema with its name, as in a request, is accepted too.
  const named = schema.schema ? schema : { name: "answer", schema };
  return { response_format: { type: "json_schema", json_schema: named } };
}

/** The request of a pane with `added` messages after its conversation. @throws Error when a setting is not valid */
function requestOf(pane, added) {
  const system = form.elements.system.value.trim();
  const messages = [...(system ? [{ role: "system", content: system }] : []), ...talkOf(pane), ...added];
  const tools = readTools(form.elements.tools);
  const stop = form.elements.stop.value.split("\n").filter(Boolean).slice(0, 4);
  const request = { model: modelOf(pane), messages, ...(tools ? { tools } : {}), ...formatOf() };
  for (const name of ["temperature", "max_tokens", "top_p", "seed"])
    if (number(name) !== undefined) request[name] = number(name);
  if (stop.length) request.stop = stop;
  return request;
}

function turn(pane, role, who) {
  const box = document.createElement("div");
  box.className = `turn ${role}`;
  const name = document.createElement("div");
  name.className = "who";
  name.textContent = who;
  const said = document.createElement("div");
  said.className = "said";
  said.dir = "auto";
  box.append(name, said);
  const answers = pane.querySelector("[data-answers]");
  answers.querySelector("[data-hint]")?.remove();
  answers.append(box);
  answers.scrollTop = answers.scrollHeight;
  return said;
}

const WHO = { user: "User", assistant: "Assistant", tool: "Tool" };
const showTurn = (pane, { role, content }) => {
  const said = turn(pane, role, WHO[role] ?? role);
  said.textContent = content ?? "";
  return said;
};

/** Adds the actions under an answer. `messages`: the whole conversation, the answer last. */
function addActions(said, messages, tools) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button plain small";
  button.textContent = "Save to dataset";
  button.addEventListener("click", () => openSaveRow(messages, button, tools));
  said.parentElement.append(button);
}

/** Yields the JSON objects of a server-sent event stream. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const lines = rest.split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const data = line.startsWith("data:") ? line.slice(5).trim() : "";
      if (data && data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

/** Number of tokens, duration, and the speed from the first token on. Times in milliseconds. */
function numbersOf(usage, startedAt, first) {
  const now = performance.now();
  const seconds = `${((now - startedAt) / 1000).toFixed(1)} s`;
  if (!usage) return seconds;
  const { completion_tokens: count } = usage;
  // The first token is there when the time begins; one or two tokens, or all at once, have no speed.
  const speed = count > 2 && now - first > 50 ? ((count - 1) * 1000) / (now - first) : 0;
  const words = `${count} ${count === 1 ? "token" : "tokens"}, ${seconds}`;
  return speed ? `${words}, ${speed < 10 ? Number(speed.toPrecision(2)) : Math.round(speed)} tokens/s` : words;
}

async function ask(pane, added, signal, expected) {
  const request = requestOf(pane, added);
  if (pane === panes()[0]) sent = request;
  const numbers = pane.querySelector("[data-numbers]");
  for (const message of added) showTurn(pane, message);
  const said = turn(pane, "assistant", "Assistant");
  const startedAt = performance.now();
  let first = 0;
  let text = "";
  const calls = [];
  let usage = null;
  numbers.textContent = "waiting for the model";
  try {
    const answer = await fetch("/v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true } }),
      signal,
    });
    if (!answer.ok) throw new Error((await answer.json()).error?.message ?? `The server answered ${answer.status}.`);
    for await (const chunk of events(answer.body)) {
      if (chunk.error) throw new Error(chunk.error.message);
      const delta = chunk.choices?.[0]?.delta;
      if ((delta?.content || delta?.tool_calls) && !first) {
        first = performance.now();
        numbers.textContent = "answering";
      }
      text += delta?.content ?? "";
      addCalls(calls, delta?.tool_calls);
      said.textContent = text;
      if (calls.length > 0) showCalls(said, calls);
      usage = chunk.usage ?? usage;
    }
    numbers.textContent = numbersOf(usage, startedAt, first);
    const answered = { role: "assistant", content: text, ...(calls.length > 0 ? { tool_calls: calls } : {}) };
    if (expected)
      turn(pane, "expected", text.trim() === expected.trim() ? "Expected: the same" : "Expected").textContent =
        expected;
    addActions(said, [...request.messages, answered], request.tools);
    talkOf(pane).push(...added, answered);
    if (calls.length > 0) askResults(showCalls(said, calls), calls, (results) => send([pane], results));
  } catch (error) {
    numbers.textContent = signal.aborted ? "stopped" : "failed";
    if (!signal.aborted) {
      said.className = "error-line";
      said.setAttribute("role", "alert");
      said.textContent = error.message;
    } else if (text) {
      // What was written before the stop is part of the conversation.
      talkOf(pane).push(...added, { role: "assistant", content: text });
    }
  }
}

/** Sends messages to the models of panes. @returns false when nothing was sent */
function send(to, added, expected) {
  if (running) return false;
  for (const field of [form.elements.tools, form.elements.schema]) {
    try {
      if (field.name === "tools") readTools(field);
      else formatOf();
    } catch {
      field.closest("details").open = true;
      field.focus();
      return false;
    }
  }
  run(to, added, expected);
  return true;
}

async function run(to, added, expected) {
  running = new AbortController();
  stopButton.hidden = false;
  await Promise.all(to.map((pane) => ask(pane, added, running.signal, expected)));
  running = null;
  stopButton.hidden = true;
  form.classList.remove("sending");
  form.elements.prompt.focus();
  keepState(stateOf());
  writeCode();
}

function sendPrompt() {
  const prompt = form.elements.prompt.value.trim();
  if (prompt && send(panes(), [{ role: "user", content: prompt }])) form.elements.prompt.value = "";
}

/** The code for what is typed, else for what was sent last. */
function writeCode() {
  const [pane] = panes();
  const prompt = form.elements.prompt.value.trim();
  try {
    const request = !prompt && sent ? sent : requestOf(pane, [{ role: "user", content: prompt || "Hello" }]);
    showCode(form, request, talkOf(pane));
  } catch {
    // A setting is still being typed.
  }
}

// State: what a link and a reload keep.
const FIELDS = ["system", "temperature", "max_tokens", "top_p", "seed", "stop", "schema", "tools"];
function stateOf() {
  return {
    fields: Object.fromEntries(FIELDS.map((name) => [name, form.elements[name].value])),
    panes: panes().map((pane) => ({ model: modelOf(pane), talk: talkOf(pane) })),
  };
}

function clear() {
  running?.abort();
  sent = null;
  for (const pane of panes()) {
    talks.delete(pane);
    pane.querySelector("[data-answers]").replaceChildren();
    pane.querySelector("[data-numbers]").textContent = "";
  }
}

function restore(state) {
  if (!state) return;
  for (const name of FIELDS)
    if (typeof state.fields?.[name] === "string") form.elements[name].value = state.fields[name];
  panes().forEach((pane, n) => {
    const kept = state.panes?.[n];
    if (!kept?.talk?.length || kept.model !== modelOf(pane)) return;
    talkOf(pane).push(...kept.talk);
    kept.talk.forEach((message, k) => {
      const said = showTurn(pane, message);
      if (message.role !== "assistant") return;
      if (message.tool_calls) showCalls(said, message.tool_calls);
      const system = form.elements.system.value.trim();
      addActions(said, [...(system ? [{ role: "system", content: system }] : []), ...kept.talk.slice(0, k + 1)]);
    });
  });
}

function keepAddress() {
  const url = new URL(location.href);
  url.searchParams.set("models", panes().map(modelOf).join(","));
  url.hash = "";
  history.replaceState(null, "", url);
}

/** The model of a new pane: the base of one that is shown, else one that is not shown. */
function nextModel() {
  const shown = panes().map(modelOf);
  const all = [...panes()[0].querySelectorAll("[data-model] option")].map((option) => option.value);
  const bases = shown.flatMap((id) => (id.startsWith("ft:") ? [id.split(":")[1]] : []));
  return [...bases, ...all].find((id) => all.includes(id) && !shown.includes(id)) ?? shown.at(-1);
}

function addPane() {
  const last = panes().at(-1);
  if (panes().length >= MAX_PANES) return;
  const model = nextModel();
  const copy = last.cloneNode(true);
  copy.querySelector("[data-answers]").replaceChildren();
  copy.querySelector("[data-numbers]").textContent = "";
  last.after(copy);
  copy.querySelector("[data-model]").value = model;
  panesChanged();
}

function panesChanged() {
  panes().forEach((pane, n) => {
    pane.querySelector("[data-model]").setAttribute("aria-label", `Model ${n + 1}`);
    pane.setAttribute("aria-label", `Answers of model ${n + 1}`);
  });
  keepAddress();
  keepState(stateOf());
  showTraining(form, panes().map(modelOf));
  writeCode();
}

async function tryRow() {
  const row = await nextRow();
  if (!row || running) return;
  clear();
  form.elements.system.value = row.system;
  send(panes(), row.messages, row.expected);
}

const enterSends = form.querySelector("[data-enter]");
enterSends.checked = localStorage.getItem("playground-enter") !== "no";
enterSends.addEventListener("change", () =>
  localStorage.setItem("playground-enter", enterSends.checked ? "yes" : "no"),
);

form.addEventListener("submit", (event) => {
  event.preventDefault();
  sendPrompt();
});
form.elements.prompt.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.isComposing) return;
  const asked = event.ctrlKey || event.metaKey || (enterSends.checked && !event.shiftKey);
  if (!asked) return;
  event.preventDefault();
  sendPrompt();
});
form.addEventListener("input", writeCode);
form.addEventListener("ft:language", writeCode);
form.addEventListener("change", (event) => {
  if (!event.target.matches("[data-model]")) return keepState(stateOf());
  const pane = event.target.closest("[data-pane]");
  talks.delete(pane);
  pane.querySelector("[data-answers]").replaceChildren();
  sent = null;
  panesChanged();
});
form.addEventListener("click", (event) => {
  const button = event.target.closest("[data-remove-pane]");
  if (!button || panes().length === 1) return;
  button.closest("[data-pane]").remove();
  panesChanged();
});
stopButton.addEventListener("click", () => running?.abort());
form.querySelector("[data-try-row]").addEventListener("click", tryRow);
document.querySelector("[data-add-pane]")?.addEventListener("click", addPane);
document.querySelector("[data-share]")?.addEventListener("click", () => shareLink(stateOf()));
document.querySelector("[data-clear]")?.addEventListener("click", () => {
  clear();
  keepState(stateOf());
  writeCode();
});
restore(restoreState(panes().map(modelOf)));
showTraining(form, panes().map(modelOf));
writeCode();
