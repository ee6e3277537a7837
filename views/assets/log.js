// The log tail: new lines are appended, or held back while the user has scrolled up.
const MOST_LINES = 3000;

function lineOf({ at, level, message }) {
  const item = document.createElement("li");
  item.className = level;
  const time = document.createElement("time");
  time.dateTime = new Date(at).toISOString();
  time.textContent = time.dateTime.slice(11, 19);
  time.title = `${time.dateTime.slice(0, 19).replace("T", " ")} UTC`;
  const mark = document.createElement("span");
  mark.className = "level";
  mark.textContent = level;
  const text = document.createElement("span");
  text.textContent = message;
  item.append(time, mark, text);
  return item;
}

function start(box) {
  const { job } = box.dataset;
  const button = box.querySelector("[data-log-waiting]");
  const list = () => box.querySelector(".lines");
  let waiting = [];
  // The stream may repeat lines that the page already contains.
  let last = Number(box.dataset.last ?? 0);

  const atEnd = () => {
    const lines = list();
    return lines.scrollHeight - lines.scrollTop - lines.clientHeight < 24;
  };
  const toEnd = () => {
    const lines = list();
    lines.scrollTop = lines.scrollHeight;
  };
  const show = () => {
    const rows = list().querySelector("ol");
    rows.querySelector("[data-no-lines]")?.remove();
    rows.append(...waiting.map(lineOf));
    waiting = [];
    while (rows.children.length > MOST_LINES) rows.firstElementChild.remove();
    button.hidden = true;
    toEnd();
  };

  document.addEventListener("ft:batch", ({ detail }) => {
    if (detail.job_id !== job || !detail.logs?.length) return;
    const wanted = box.querySelector("input[type=search]")?.value.trim().toLowerCase();
    const fresh = detail.logs.filter((line) => line.id > last);
    last = Math.max(last, ...detail.logs.map((line) => line.id));
    waiting.push(...fresh.filter((line) => !wanted || line.message.toLowerCase().includes(wanted)));
    waiting = waiting.slice(-MOST_LINES);
    if (!waiting.length) return;
    if (atEnd()) show();
    else {
      button.hidden = false;
      button.textContent = `${waiting.length} new ${waiting.length === 1 ? "line" : "lines"} ↓`;
    }
  });
  button.addEventListener("click", show);
  box.addEventListener("scroll", () => waiting.length && atEnd() && show(), true);
  document.addEventListener("ft:resync", () => box.querySelector("form")?.requestSubmit());
  box.addEventListener("htmx:after:swap", () => {
    waiting = [];
    button.hidden = true;
    toEnd();
  });
  toEnd();
}

/** Initializes every log of the page once. */
export function mount() {
  for (const box of document.querySelectorAll("[data-log]:not([data-started])")) {
    box.dataset.started = "";
    start(box);
  }
}
