// The command palette: Ctrl-K opens it, the server answers what was typed, arrows and Enter choose.
const palette = document.getElementById("palette");
const input = document.getElementById("palette-input");

const links = () => [...palette.querySelectorAll(".results a")];

function select(link) {
  for (const other of links()) other.removeAttribute("aria-selected");
  link?.setAttribute("aria-selected", "true");
  link?.scrollIntoView({ block: "nearest" });
}

function open() {
  if (!palette || palette.open) return;
  palette.showModal();
  input.value = "";
  input.focus();
  window.htmx?.trigger(input, "palette-open");
}

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    open();
  }
});
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("[data-palette]");
  if (!link || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  open();
});
input?.addEventListener("keydown", (event) => {
  const all = links();
  const here = all.findIndex((link) => link.hasAttribute("aria-selected"));
  if (event.key === "ArrowDown") select(all[Math.min(here + 1, all.length - 1)]);
  else if (event.key === "ArrowUp") select(all[Math.max(here - 1, 0)]);
  else if (event.key === "Enter") (all[Math.max(here, 0)] ?? input).click();
  else return;
  event.preventDefault();
});
palette?.addEventListener("htmx:after:swap", () => select(links()[0]));
