// Uploads by file picker or drag and drop: raw bytes with progress. Without this script the form posts as usual.
//
// <form data-upload="/datasets/upload" …><input type="file" name="file"><ul class="uploads" data-uploads></ul></form>
// The address gets PUT ?filename=… with the bytes as body and answers {url}, which is opened, or {error: {message}}.

function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  const unit = Math.min(4, Math.floor(Math.log(bytes) / Math.log(1024)) || 1);
  return `${(bytes / 1024 ** unit).toFixed(1)} ${["B", "KB", "MB", "GB", "TB"][unit]}`;
}

function row(name) {
  const item = document.createElement("li");
  item.className = "progress";
  const bar = document.createElement("progress");
  bar.max = 1;
  bar.value = 0;
  bar.setAttribute("aria-label", `Uploading ${name}`);
  const words = document.createElement("div");
  words.className = "words";
  const [left, right] = [document.createElement("span"), document.createElement("span")];
  left.textContent = name;
  left.className = "clip";
  right.className = "num";
  words.append(left, right);
  item.append(bar, words);
  return { item, bar, right };
}

function send(form, file) {
  const { item, bar, right } = row(file.name);
  form.querySelector("[data-uploads]").append(item);
  const request = new XMLHttpRequest();
  const query = new URLSearchParams({ filename: file.name });
  request.open("PUT", `${form.dataset.upload}?${query}`);
  request.responseType = "json";
  request.setRequestHeader("content-type", "application/octet-stream");
  request.setRequestHeader("accept", "application/json");
  const started = performance.now();
  request.upload.addEventListener("progress", ({ loaded, total }) => {
    bar.value = total ? loaded / total : 0;
    const left = ((total - loaded) / loaded) * ((performance.now() - started) / 1000);
    right.textContent =
      loaded === total
        ? "Received. Validating"
        : `${size(loaded)} of ${size(total)}${left > 2 && Number.isFinite(left) ? `, ${Math.round(left)} s left` : ""}`;
  });
  const failed = (message) => {
    item.replaceChildren();
    item.className = "error-line";
    item.setAttribute("role", "alert");
    item.textContent = `${file.name}: ${message}`;
  };
  request.addEventListener("load", () => {
    if (request.status < 400 && request.response?.url) location.assign(request.response.url);
    else failed(request.response?.error?.message ?? "The server refused the file. Try again.");
  });
  request.addEventListener("error", () => failed("The connection was lost and nothing was stored. Try again."));
  request.send(file);
}

function start(form) {
  const input = form.querySelector("input[type=file]");
  const take = (files) => {
    for (const file of files) send(form, file);
    input.value = "";
  };
  input.addEventListener("change", () => take(input.files));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (input.files.length) take(input.files);
    else input.click();
  });
  for (const name of ["dragenter", "dragover"])
    form.addEventListener(name, (event) => {
      event.preventDefault();
      form.classList.add("over");
    });
  for (const name of ["dragleave", "drop"]) form.addEventListener(name, () => form.classList.remove("over"));
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    take(event.dataTransfer.files);
  });
}

/** Initializes every upload form of the page once. */
export function mount() {
  for (const form of document.querySelectorAll("[data-upload]:not([data-started])")) {
    form.dataset.started = "";
    start(form);
  }
}
