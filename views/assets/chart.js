// <ft-chart>: uPlot with shared axes and colors; hover values, smoothing, log scale, drag zoom with finer data, PNG and
// CSV export, live points.

import { around, clock, color, FORMATS, labels, short } from "./chart-format.js";
import { chartImage } from "./chart-image.js";
import { addPoints, align, moved, PACE, progressBy, smooth, thin, toCsv } from "./series.js";
import uPlot from "./uplot.js";

const MOST_POINTS = 4000;
/** Lines differ by dashes too, for those who see colors alike. 2 is validation. */
const DASHES = { 2: [5, 3], 4: [2, 3], 6: [8, 3, 2, 3], 8: [3, 2] };
/** Whether values were measured at few steps, as in validation. */
const measured = (one) => one.key.startsWith("eval/");
const SMOOTHING = 0.85;

const fade = (tone, alpha) => `color-mix(in oklch, ${tone} ${alpha * 100}%, transparent)`;

class Chart extends HTMLElement {
  connectedCallback() {
    if (this.plotBox) return;
    this.plotBox = this.querySelector("[data-plot]");
    this.series = JSON.parse(this.dataset.series).map((one) => ({ ...one, map: new Map() }));
    this.small = this.classList.contains("small");
    this.format = FORMATS[this.dataset.unit] ?? short;
    this.time = this.dataset.time !== undefined;
    this.max = Number(this.dataset.max ?? 0);
    /** `tokens` or `time` in place of steps; `pace` has the series from which they follow, by source. */
    this.by = this.dataset.by;
    this.pace = new Map();
    this.where = this.time
      ? (x) => clock(x, 0)
      : (x) => `${this.dataset.axis} ${this.by ? short(x) : Math.round(x).toLocaleString("en-US")}`;
    // A link with a range zooms every chart of the page; smoothing and scale belong to the large one.
    const query = new URLSearchParams(location.search);
    const [from, to] = (query.get("range") ?? "").split("-").map(Number);
    this.range = to > from ? [from, to] : null;
    this.zoomed = Boolean(this.range);
    this.smoothing = !this.small && query.has("smooth");
    this.log = !this.small && query.has("log");
    this.plotBox.textContent = "No values yet";
    this.addTools();
    const names = this.querySelector("[data-legend]");
    for (const type of ["mouseover", "mouseleave"]) names.addEventListener(type, (event) => this.point(event));
    this.load();
    this.onBatch = ({ detail }) => this.take(detail);
    this.onTheme = () => this.draw();
    this.onResync = () => this.load();
    document.addEventListener("ft:batch", this.onBatch);
    document.addEventListener("ft:theme", this.onTheme);
    document.addEventListener("ft:resync", this.onResync);
    this.media = matchMedia("(prefers-color-scheme: dark)");
    this.media.addEventListener("change", this.onTheme);
    this.observer = new ResizeObserver(() => {
      if (this.plot && this.plotBox.clientWidth)
        this.plot.setSize({ width: this.plotBox.clientWidth, height: this.plotBox.clientHeight });
    });
    this.observer.observe(this.plotBox);
  }

  disconnectedCallback() {
    document.removeEventListener("ft:batch", this.onBatch);
    document.removeEventListener("ft:theme", this.onTheme);
    document.removeEventListener("ft:resync", this.onResync);
    this.media?.removeEventListener("change", this.onTheme);
    this.observer?.disconnect();
    this.plot?.destroy();
    this.plot = null;
    this.plotBox = null;
  }

  addTools() {
    const box = this.querySelector("[data-tools]");
    box.replaceChildren();
    const add = (label, title, act) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      button.title = title;
      button.addEventListener("click", () => act(button));
      box.append(button);
      return button;
    };
    const toggle = (name, parameter) => (button) => {
      this[name] = !this[name];
      button.setAttribute("aria-pressed", String(this[name]));
      this.keep(parameter, this[name] ? "1" : null);
      this.draw();
    };
    this.resetButton = add(this.time ? "All" : "Whole run", "Reset the zoom (double-click the chart)", () =>
      this.zoom(null),
    );
    this.resetButton.hidden = !this.range;
    const smooths = "Moving average of training values; the raw line stays visible";
    add("Smooth", smooths, toggle("smoothing", "smooth")).setAttribute("aria-pressed", String(this.smoothing));
    add("Log", "Logarithmic scale", toggle("log", "log")).setAttribute("aria-pressed", String(this.log));
    add("Table", "Show the values as a table", () => {
      const details = this.querySelector("[data-table]");
      details.open = !details.open;
    });
    add("PNG", "Download as PNG image", () => this.savePng());
    add("CSV", "Download the values as CSV", () => this.saveCsv());
  }

  /** Fetches points, thinned by the server; finer ones when zoomed in. */
  async load() {
    const sources = Map.groupBy(this.series, (one) => one.src ?? this.dataset.src);
    await Promise.all(
      [...sources].map(async ([src, list]) => {
        const url = new URL(src, location.href);
        url.searchParams.set("keys", [...list.map((one) => one.key), ...(this.by ? PACE : [])].join(","));
        if (this.range && !this.by) {
          url.searchParams.set("from", String(Math.floor(this.range[0])));
          url.searchParams.set("to", String(Math.ceil(this.range[1])));
        }
        const answer = await fetch(url, { headers: { accept: "application/json" } }).catch(() => null);
        if (!answer?.ok) return;
        const { series } = await answer.json();
        for (const one of list) one.map = addPoints(new Map(), series[one.key]?.points ?? []);
        const pace = PACE.map((key) => addPoints(new Map(), series[key]?.points ?? []));
        this.pace.set(src, pace);
      }),
    );
    this.draw();
  }

  take(batch) {
    let changed = false;
    for (const one of this.series) {
      if (this.by && one.job === batch.job_id)
        for (const [n, map] of (this.pace.get(one.src) ?? []).entries()) addPoints(map, batch.points?.[PACE[n]] ?? []);
      const points = one.job === batch.job_id ? batch.points?.[one.key] : null;
      if (!points?.length) continue;
      const seen = this.range && !this.by ? points.filter(([step]) => step <= this.range[1]) : points;
      addPoints(one.map, seen);
      if (one.map.size > MOST_POINTS) one.map = thin(one.map, MOST_POINTS / 2);
      changed ||= seen.length > 0;
    }
    if (!changed || this.pending) return;
    this.pending = requestAnimationFrame(() => {
      this.pending = 0;
      if (this.plot && !this.smoothing) {
        this.plot.setData(this.data(), !this.zoomed);
        this.legend(this.plot.cursor.idx);
      } else this.draw();
      this.fillTable();
    });
  }

  /** The points of every series by the chosen horizontal axis. */
  maps() {
    if (!this.by) return this.series.map((one) => one.map);
    return this.series.map((one) =>
      moved(one.map, progressBy(this.by, ...(this.pace.get(one.src ?? this.dataset.src) ?? PACE.map(() => new Map())))),
    );
  }

  /** Aligned values; with smoothing, the smoothed lines follow the raw ones. */
  data() {
    const aligned = align(this.maps());
    if (this.log)
      for (const column of aligned.slice(1))
        for (let i = 0; i < column.length; i++) if (column[i] !== undefined && !(column[i] > 0)) column[i] = null;
    if (!this.smoothing) return aligned;
    // Measured validation values stay where they were measured.
    const soft = (column, i) => (measured(this.series[i]) ? column : smooth(column, SMOOTHING));
    return [...aligned, ...aligned.slice(1).map(soft)];
  }

  draw() {
    if (!this.plotBox) return;
    const data = this.data();
    const empty = data[0].length === 0;
    this.plotBox.classList.toggle("waiting", empty);
    if (empty) return;
    this.plot?.destroy();
    this.plotBox.replaceChildren();
    const line = color(this.plotBox, "tone-line");
    const text = color(this.plotBox, "tone-muted");
    const font = `11px ${getComputedStyle(document.body).fontFamily}`;
    const stroke = (one) => color(this.plotBox, `series-${one.color}`);
    const softened = (one) => this.smoothing && !measured(one);
    const raw = this.series.map((one) => ({
      label: one.label,
      stroke: softened(one) ? fade(stroke(one), 0.28) : stroke(one),
      width: softened(one) ? 1 : 1.5,
      dash: DASHES[one.color],
      spanGaps: true,
      // Dots only while there are few points, also when more arrive.
      points: { show: () => one.map.size <= 20, size: 5, fill: stroke(one) },
    }));
    const smoothed = this.smoothing
      ? this.series.map((one) => ({
          label: one.label,
          stroke: stroke(one),
          width: measured(one) ? 0 : 2,
          dash: DASHES[one.color],
          spanGaps: true,
          points: { show: false },
        }))
      : [];
    const grid = { stroke: line, width: 1 };
    const axis = { stroke: text, font, grid, ticks: { show: false } };
    this.plot = new uPlot(
      {
        width: this.plotBox.clientWidth,
        height: this.plotBox.clientHeight,
        // The label of the last time is centered under the right edge.
        padding: [8, this.time ? 24 : 8, 0, 0],
        legend: { show: false },
        focus: { alpha: 0.2 },
        cursor: {
          sync: { key: this.time ? "time" : (this.by ?? "steps"), setSeries: false },
          drag: { x: true, y: false },
          points: { size: 6 },
        },
        scales: {
          x: { time: this.time, ...(this.range ? { range: () => this.range } : {}) },
          y: this.log
            ? { distr: 3, range: (_plot, low, high) => (low > 0 ? [low * 0.9, high * 1.1] : [0.1, 1]) }
            : { range: (_plot, low, high) => (this.max ? [0, this.max] : around(low, high)) },
        },
        axes: [
          {
            ...axis,
            grid: { show: false },
            size: 26,
            gap: 6,
            space: this.time ? 72 : this.small ? 32 : 60,
            values: (plot, all) =>
              this.time
                ? all.map((v) => clock(v, plot.scales.x.max - plot.scales.x.min))
                : all.map((v) => (v === null || (v % 1 && !this.by) ? "" : short(v))),
          },
          {
            ...axis,
            size: this.dataset.unit === "megabytes" ? 60 : 48,
            gap: 6,
            space: this.small ? 28 : 36,
            values: (_plot, all) => labels(all, this.format),
          },
        ],
        series: [{}, ...raw, ...smoothed],
        hooks: {
          setCursor: [(plot) => this.legend(plot.cursor.idx)],
          setSelect: [
            (plot) => {
              if (plot.select.width < 4) return;
              this.zoom([
                plot.posToVal(plot.select.left, "x"),
                plot.posToVal(plot.select.left + plot.select.width, "x"),
              ]);
            },
          ],
          ready: [(plot) => plot.over.addEventListener("dblclick", () => this.range && this.zoom(null))],
        },
      },
      data,
      this.plotBox,
    );
    this.legend(null);
    this.fillTable();
  }

  zoom(range) {
    this.range = range;
    this.zoomed = Boolean(range);
    this.resetButton.hidden = !range;
    this.keep(
      "range",
      range && (this.by ? range.map((x) => x.toFixed(2)).join("-") : `${Math.floor(range[0])}-${Math.ceil(range[1])}`),
    );
    this.load();
  }

  /** Keeps a setting of the large chart in the address; null removes it. */
  keep(name, value) {
    if (this.small) return;
    const url = new URL(location.href);
    if (value) url.searchParams.set(name, value);
    else url.searchParams.delete(name);
    history.replaceState(history.state, "", url);
  }

  /** Draws the other lines fainter while the pointer is on a name of the legend. */
  point(event) {
    const at = [...event.currentTarget.children].indexOf(event.target.closest?.("li"));
    const known = event.type !== "mouseleave" && at >= 0 && at < this.series.length;
    this.plot?.setSeries(known ? at + 1 : null, { focus: true });
  }

  /** The legend: names with the values under the pointer, or the last ones. */
  legend(index) {
    const list = this.querySelector("[data-legend]");
    if (!list || !this.plot) return;
    const [steps, ...columns] = this.plot.data;
    const at = index ?? null;
    this.classList.toggle("pointed", at !== null);
    const items = this.series.map((one, i) => {
      const column = columns[i];
      let value = at === null ? undefined : column[at];
      // Series without this step show their last value.
      for (let k = at ?? steps.length - 1; value == null && k >= 0; k--) value = column[k];
      const item = document.createElement("li");
      const swatch = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      swatch.setAttribute("viewBox", "0 0 14 8");
      swatch.setAttribute("class", `series-${one.color}`);
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("d", "M0 4h14");
      path.setAttribute("stroke", "currentColor");
      path.setAttribute("stroke-width", "2");
      if (DASHES[one.color]) path.setAttribute("stroke-dasharray", "4 2");
      swatch.append(path);
      const label = document.createElement("span");
      label.className = "label";
      label.textContent = one.label;
      const number = document.createElement("b");
      number.textContent = value == null ? "–" : this.format(value);
      item.append(swatch, label, number);
      return item;
    });
    if (steps.length && (!this.small || at !== null)) {
      const where = document.createElement("li");
      where.textContent = this.where(steps[at ?? steps.length - 1]);
      items.push(where);
    }
    list.replaceChildren(...items);
  }

  /** The table of values: filled only while it is open. */
  fillTable() {
    const details = this.querySelector("[data-table]");
    if (!details) return;
    details.ontoggle = () => this.fillTable();
    if (!details.open) return;
    const [steps, ...columns] = align(this.maps());
    const rows = steps.slice(-200).map((step, i) => {
      const row = document.createElement("tr");
      const offset = Math.max(0, steps.length - 200);
      for (const [n, value] of [step, ...columns.map((column) => column[i + offset])].entries()) {
        const cell = document.createElement("td");
        cell.className = n ? "end" : "num";
        cell.textContent =
          value == null ? "" : n ? this.format(value) : this.time || this.by ? this.where(value) : String(value);
        row.append(cell);
      }
      return row;
    });
    if (this.by) details.querySelector("th").textContent = this.dataset.axis;
    details.querySelector("tbody").replaceChildren(...rows);
  }

  save(blob, ending) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${this.dataset.title.toLowerCase().replace(/[^a-z0-9]+/g, "-")}.${ending}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  saveCsv() {
    const labels = [this.dataset.axis.toLowerCase(), ...this.series.map((one) => one.label)];
    this.save(new Blob([toCsv(labels, align(this.maps()))], { type: "text/csv" }), "csv");
  }

  savePng() {
    if (!this.plot) return;
    const names = this.series.map((one) => ({ label: one.label, tone: color(this.plotBox, `series-${one.color}`) }));
    const tones = { paper: color(this.plotBox, "tone-surface"), text: getComputedStyle(this).color };
    const { fontFamily } = getComputedStyle(document.body);
    const axes = { x: this.time ? "" : this.dataset.axis, title: this.dataset.title };
    chartImage(this.plot.ctx.canvas, axes, names, { ...tones, fontFamily }).toBlob(
      (blob) => blob && this.save(blob, "png"),
    );
  }
}

if (!customElements.get("ft-chart")) customElements.define("ft-chart", Chart);
