// <ft-bars>: stacked columns over time, drawn by uPlot from the values of the element; the legend shows those under the
// pointer.

import { color, FORMATS, labels, short } from "./chart-format.js";
import uPlot from "./uplot.js";

const DAY_S = 86_400;

/** A time in UTC, as all periods of use are. */
function when(x, hours) {
  const shown = {
    month: "short",
    day: "numeric",
    ...(hours ? { hour: "2-digit", minute: "2-digit", hour12: false } : {}),
  };
  return new Date(x * 1000).toLocaleString("en-US", { ...shown, timeZone: "UTC" });
}

class Bars extends HTMLElement {
  static observedAttributes = ["data-times", "data-series", "data-unit", "data-width"];

  /** Another choice on the page morphs the attributes, one after the other; the columns are drawn once. */
  attributeChangedCallback() {
    if (!this.plotBox || this.pending) return;
    this.pending = requestAnimationFrame(() => {
      this.pending = 0;
      this.read();
      this.draw();
    });
  }

  read() {
    this.times = JSON.parse(this.dataset.times);
    this.series = JSON.parse(this.dataset.series);
    this.hours = this.dataset.width === "1h";
    this.format = FORMATS[this.dataset.unit] ?? short;
  }

  connectedCallback() {
    if (this.plotBox) return;
    this.plotBox = this.querySelector("[data-plot]");
    this.list = this.querySelector("[data-legend]");
    this.read();
    this.onTheme = () => this.draw();
    document.addEventListener("ft:theme", this.onTheme);
    this.media = matchMedia("(prefers-color-scheme: dark)");
    this.media.addEventListener("change", this.onTheme);
    this.observer = new ResizeObserver(() => {
      if (this.plot && this.plotBox.clientWidth)
        this.plot.setSize({ width: this.plotBox.clientWidth, height: this.plotBox.clientHeight });
    });
    this.observer.observe(this.plotBox);
    this.draw();
  }

  disconnectedCallback() {
    document.removeEventListener("ft:theme", this.onTheme);
    this.media?.removeEventListener("change", this.onTheme);
    this.observer?.disconnect();
    cancelAnimationFrame(this.pending);
    this.pending = 0;
    this.plot?.destroy();
    this.plot = null;
    this.plotBox = null;
  }

  /** Sums from the first group upwards: each column is drawn behind those below it. */
  stacked() {
    const sums = this.times.map(() => 0);
    return this.series.map(({ values }) => values.map((value, n) => (sums[n] += value)));
  }

  draw() {
    if (!this.plotBox) return;
    this.plot?.destroy();
    this.plotBox.classList.remove("waiting");
    this.plotBox.replaceChildren();
    const line = color(this.plotBox, "tone-line");
    const font = `11px ${getComputedStyle(document.body).fontFamily}`;
    const axis = { stroke: color(this.plotBox, "tone-muted"), font, ticks: { show: false } };
    const columns = uPlot.paths.bars({ size: [0.76, 48], align: 1 });
    const step = this.hours ? 3600 : DAY_S;
    this.plot = new uPlot(
      {
        width: this.plotBox.clientWidth,
        height: this.plotBox.clientHeight,
        padding: [8, 8, 0, 0],
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
        scales: {
          x: { time: true, range: () => [this.times[0], this.times.at(-1) + step] },
          y: { range: (_plot, _low, high) => [0, high > 0 ? high * 1.08 : 1] },
        },
        axes: [
          {
            ...axis,
            grid: { show: false },
            size: 26,
            gap: 6,
            space: 72,
            // Whole days of UTC, wherever the reader is.
            splits: (plot) => {
              const room = Math.max(1, Math.floor(plot.bbox.width / devicePixelRatio / 72));
              const every = Math.ceil(this.times.length / room);
              return this.times.filter((_, n) => n % every === 0);
            },
            values: (_plot, all) => all.map((x) => when(x, this.hours && this.times.length <= 48)),
          },
          {
            ...axis,
            grid: { stroke: line, width: 1 },
            size: 56,
            gap: 6,
            space: 36,
            values: (_plot, all) => labels(all, this.format),
          },
        ],
        series: [
          {},
          ...this.series
            .map(({ label, tone }) => ({
              label,
              fill: color(this.plotBox, tone),
              width: 0,
              paths: columns,
              points: { show: false },
            }))
            .reverse(),
        ],
        hooks: { setCursor: [(plot) => this.legend(this.under(plot))] },
      },
      [this.times, ...this.stacked().reverse()],
      this.plotBox,
    );
    this.legend(null);
  }

  /** The column under the pointer, which begins at its time; null outside. */
  under({ cursor, posToVal }) {
    if (!(cursor.left >= 0)) return null;
    const x = posToVal(cursor.left, "x");
    const at = this.times.findLastIndex((time) => time <= x);
    return at < 0 ? null : at;
  }

  /** Names of the groups with their values under the pointer, or their sums. */
  legend(at) {
    const items = this.series.map(({ label, tone, values }) => {
      const item = document.createElement("li");
      const mark = document.createElement("i");
      mark.className = `mark ${tone}`;
      const name = document.createElement("span");
      name.className = "label";
      name.textContent = label;
      const number = document.createElement("b");
      number.textContent = this.format(at === null ? values.reduce((sum, one) => sum + one, 0) : values[at]);
      item.append(mark, name, number);
      return item;
    });
    const time = document.createElement("li");
    time.textContent = at === null ? "Whole period" : `${when(this.times[at], this.hours)} UTC`;
    this.list.replaceChildren(...items, time);
  }
}

if (!customElements.get("ft-bars")) customElements.define("ft-bars", Bars);
