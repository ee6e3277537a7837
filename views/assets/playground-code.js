// The request of the playground as code.
let language = "curl";
const quoted = (value) => JSON.stringify(value, null, 2);

const PYTHON_WORDS = new Map([
  [null, "None"],
  [true, "True"],
  [false, "False"],
]);

/** A value as a Python literal. */
function python(value, indent = "") {
  if (PYTHON_WORDS.has(value)) return PYTHON_WORDS.get(value);
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = `${indent}  `;
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const items = Array.isArray(value)
    ? value.map((item) => python(item, inner))
    : Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${python(item, inner)}`);
  return items.length ? `${open}\n${inner}${items.join(`,\n${inner}`)}\n${indent}${close}` : open + close;
}

/** Shows a request in the chosen language; `talk` is the conversation, for a training row. */
export function showCode(form, request, talk) {
  const url = `${form.dataset.baseUrl}/v1`;
  const content = request.tools ? "" : ".content";
  const code = {
    curl: `curl ${url}/chat/completions \\\n  -H "Authorization: Bearer $FTL_API_KEY" -H "Content-Type: application/json" \\\n  -d '${JSON.stringify(request).replaceAll("'", "'\\''")}'`,
    Python: `from openai import OpenAI\n\nclient = OpenAI(base_url="${url}", api_key="ftl-…")\nanswer = client.chat.completions.create(**${python(request)})\nprint(answer.choices[0].message${content})`,
    TypeScript: `import OpenAI from "openai";\n\nconst client = new OpenAI({ baseURL: "${url}", apiKey: "ftl-…" });\nconst answer = await client.chat.completions.create(${quoted(request)});\nconsole.log(answer.choices[0].message${content});`,
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

const form = document.querySelector("[data-playground]");
for (const button of form.querySelectorAll("[data-language]"))
  button.addEventListener("click", () => {
    language = button.dataset.language;
    for (const other of form.querySelectorAll("[data-language]")) other.setAttribute("aria-pressed", other === button);
    form.dispatchEvent(new Event("ft:language"));
  });
