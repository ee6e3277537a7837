// The playground: sends one message to the model of every pane, streams the answers, and shows the request as code.
import { openSaveRow } from "./save-row.js";
import { addCalls, askResults, readTools, showCalls } from "./tool-calls.js";

const form = document.querySelector("[data-playground]");
const panes = () => [...form.querySelectorAll("[data-pane]")];
const stopButton = form.querySelector("[data-stop]");
let running = null;

/** The conversation of each pane. */
const talks = new WeakMap();
const talkOf = (pane) => talks.get(pane) ?? talks.set(pane, []).get(pane);

const number = (name) => {
  const text = form.elements[name]?.value;
  return text === "" || text === undefined ? undefined : Number(text);
};

/** The request of a pane with `added` messages after its conversation. @throws Error when the tools are not valid */
function requestOf(pane, added) {
  const system = form.elements.system.value.trim();
  const messages = [...(system ? [{ role: "system", content: system }] : []), ...talkOf(pane), ...added];
  const tools = readTools(form.elements.tools);
  const request = { model: pane.querySelector("[data-model]").value, messages, ...(tools ? { tools } : {}) };
  for (const name of ["temperature", "max_tokens", "top_p", "seed"])
    if (number(name) !== undefined) request[name] = number(name);
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
  box.scrollIntoView({ block: "nearest" });
  return said;
}

/**
 * Adds the actions under an answer. `messages`: the whole conversation, the answer last.
 */
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

async function ask(pane, added, signal) {
  const request = requestOf(pane, added);
  const numbers = pane.querySelector("[data-numbers]");
  for (const { role, content } of added) turn(pane, role, role === "tool" ? "Tool" : "User").textContent = content;
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
      if ((delta?.content || delta?.tool_calls) && !first) first = performance.now();
      text += delta?.content ?? "";
      addCalls(calls, delta?.tool_calls);
      said.textContent = text;
      if (calls.length > 0) showCalls(said, calls);
      usage = chunk.usage ?? usage;
    }
    const seconds = (performance.now() - startedAt) / 1000;
    const speed = usage && first ? usage.completion_tokens / ((performance.now() - first) / 1000) : 0;
    numbers.textContent = usage
      ? `${usage.completion_tokens} tokens, ${seconds.toFixed(1)} s${speed ? `, ${speed.toFixed(0)} tokens/s` : ""}`
      : `${seconds.toFixed(1)} s`;
    const answered = { role: "assistant", content: text, ...(calls.length > 0 ? { tool_calls: calls } : {}) };
    addActions(said, [...request.messages, answered], request.tools);
    talkOf(pane).push(...added, answered);
    if (calls.length > 0) askResults(showCalls(said, calls), calls, (results) => send([pane], results));
  } catch (error) {
    numbers.textContent = signal.aborted ? "stopped" : "failed";
    if (!signal.aborted) {
      said.className = "error-line";
      said.setAttribute("role", "alert");
      said.textContent = error.message;
    }
  }
}

/** Sends messages to the models of panes. @returns false when nothing was sent */
function send(to, added) {
  if (running) return false;
  try {
    readTools(form.elements.tools);
  } catch {
    form.elements.tools.closest("details").open = true;
    form.elements.tools.focus();
    return false;
  }
  run(to, added);
  return true;
}

async function run(to, added) {
  running = new AbortController();
  stopButton.hidden = false;
  await Promise.all(to.map((pane) => ask(pane, added, running.signal)));
  running = null;
  stopButton.hidden = true;
  form.classList.remove("sending");
  form.elements.prompt.focus();
  writeCode(added.find(({ role }) => role === "user")?.content);
}

function sendPrompt() {
  const prompt = form.elements.prompt.value.trim();
  if (prompt && send(panes(), [{ role: "user", content: prompt }])) form.elements.prompt.value = "";
}

// Code
let language = "curl";
const quoted = (value) => JSON.stringify(value, null, 2);
function writeCode(last) {
  const prompt = form.elements.prompt.value.trim() || last || "Hello";
  const [pane] = panes();
  const talk = talkOf(pane);
  let request;
  try {
    request = requestOf(pane, [{ role: "user", content: prompt }]);
  } catch {
    return; // the tools are still being typed
  }
  const url = `${form.dataset.baseUrl}/v1`;
  const python = quoted(request)
    .replace(/: null/g, ": None")
    .replace(/: true/g, ": True")
    .replace(/: false/g, ": False");
  const code = {
    curl: `curl ${url}/chat/completions \\\n  -H "Authorization: Bearer $FTL_API_KEY" -H "Content-Type: application/json" \\\n  -d '${JSON.stringify(request).replaceAll("'", "'\\''")}'`,
    Python: `from openai import OpenAI\n\nclient = OpenAI(base_url="${url}", api_key="ftl-…")\nanswer = client.chat.completions.create(**${python})\nprint(answer.choices[0].message${request.tools ? "" : ".content"})`,
    TypeScript: `import OpenAI from "openai";\n\nconst client = new OpenAI({ baseURL: "${url}", apiKey: "ftl-…" });\nconst answer = await client.chat.completions.create(${quoted(request)});\nconsole.log(answer.choices[0].message${request.tools ? "" : ".content"});`,
    "Training row": JSON.stringify({
      messages: talk.length
        ? [...request.messages.filter((message) => message.role === "system"), ...talk]
        : [...request.messages, { role: "assistant", content: "the answer you want" }],
      ...(request.tools ? { tools: request.tools } : {}),
    }),
  }[language];
  form.querySelector("[data-code-text]").textContent = code;
  form.querySelector("[data-code-copy]").dataset.copy = code;
}

function keepAddress() {
  const url = new URL(location.href);
  url.searchParams.set(
    "models",
    panes()
      .map((pane) => pane.querySelector("[data-model]").value)
      .join(","),
  );
  history.replaceState(null, "", url);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  sendPrompt();
});
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) sendPrompt();
});
form.addEventListener("input", () => writeCode());
form.addEventListener("change", (event) => {
  if (event.target.matches("[data-model]")) {
    talks.delete(event.target.closest("[data-pane]"));
    keepAddress();
  }
});
stopButton.addEventListener("click", () => running?.abort());
for (const button of form.querySelectorAll("[data-language]"))
  button.addEventListener("click", () => {
    language = button.dataset.language;
    for (const other of form.querySelectorAll("[data-language]")) other.setAttribute("aria-pressed", other === button);
    writeCode();
  });
document.querySelector("[data-add-pane]")?.addEventListener("click", () => {
  const last = panes().at(-1);
  if (panes().length >= 4) return;
  const copy = last.cloneNode(true);
  copy.querySelector("[data-answers]").replaceChildren();
  copy.querySelector("[data-numbers]").textContent = "";
  copy.querySelector("[data-model]").setAttribute("aria-label", `Model ${panes().length + 1}`);
  copy.setAttribute("aria-label", `Answers of model ${panes().length + 1}`);
  last.after(copy);
  keepAddress();
});
document.querySelector("[data-clear]")?.addEventListener("click", () => {
  running?.abort();
  for (const pane of panes()) {
    talks.delete(pane);
    pane.querySelector("[data-answers]").replaceChildren();
    pane.querySelector("[data-numbers]").textContent = "";
  }
});
writeCode();
