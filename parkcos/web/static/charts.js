// Charts of the last minutes: one number over time each, drawn by uPlot in the colours of the stylesheet.

import { h, setText } from "./dom.js";
import { clock } from "./format.js";
import uPlot from "./vendor/uPlot.esm.js";

const SPAN_S = 900;
const LEAST_S = 60;
const EDGE = 6; // pixels right of the newest point
const LABEL = [18, 27]; // half of a time's width: of 12:34 and of 12:34:56

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function ceiling(most, floor, binary) {
  const top = Math.max(most ?? 0, floor);
  if (binary) return 2 ** Math.ceil(Math.log2(top));
  const step = 10 ** Math.floor(Math.log10(top));
  for (const factor of [1, 2, 4, 6, 8, 10]) if (top <= factor * step) return factor * step;
  return top;
}

/**
 * top: the scale's end if it is fixed, floor: its least end, binary: whether it is a power of two.
 * format(n) and axis(n): a value as text, long and short.
 */
export class Chart {
  constructor({ title, tone, format, axis = format, top = null, floor = 4, binary = false, group }) {
    Object.assign(this, { title, tone, format, axis, top, floor, binary, group });
    this.data = [[], []];
    this.latest = "";
    this.value = h("span", { class: "chart-value" });
    this.at = h("span", { class: "chart-at" });
    this.plotBox = h("div", { class: "plot", role: "img", "aria-label": title });
    this.element = h("figure", { class: "chart" },
      h("figcaption", {}, h("span", { class: "chart-title" }, title), this.at, this.value), this.plotBox);
    this.#tell("no data", "");
    this.resize = new ResizeObserver(() => this.#fit());
    this.resize.observe(this.plotBox);
    this.retheme = () => { this.#drop(); this.#fit(); };
    document.documentElement.addEventListener("themechange", this.retheme);
  }

  end() {
    this.resize.disconnect();
    document.documentElement.removeEventListener("themechange", this.retheme);
    this.#drop();
  }

  /** times: Unix seconds; values: numbers, null where none is known. */
  set(times, values, now) {
    this.data = [times, values];
    this.now = now;
    const known = values.filter((value) => value !== null && value !== undefined);
    const latest = known.length ? values[values.length - 1] : null;
    this.latest = latest === null || latest === undefined ? "not known" : this.format(latest);
    if (!this.pointed) this.#tell(this.latest, "");
    const most = known.reduce((a, b) => Math.max(a, b), 0);
    this.plotBox.setAttribute("aria-label",
      `${this.title}: ${this.latest} now, at most ${this.format(most)} in the time that is shown`);
    if (this.plot) this.plot.setData(this.data);
    else this.#fit();
  }

  #tell(value, at) {
    setText(this.value, value);
    setText(this.at, at);
  }

  #drop() {
    this.plot?.destroy();
    this.plot = null;
  }

  #fit() {
    const { clientWidth: width, clientHeight: height } = this.plotBox;
    if (!width || !height || !this.data[0].length) return;
    if (this.plot) this.plot.setSize({ width, height });
    else this.plot = new uPlot(this.#options(width, height), this.data, this.plotBox);
  }

  #options(width, height) {
    const ink = colour("--muted");
    const grid = { stroke: colour("--line"), width: 1 };
    const font = `11px ${getComputedStyle(document.body).fontFamily}`;
    return {
      width, height, padding: [6, EDGE, 0, 0], legend: { show: false },
      cursor: { y: false, sync: { key: this.group }, drag: { x: false, y: false }, points: { size: 7 } },
      scales: {
        x: { time: true, range: (u, min, max) => {
          const end = Math.max(this.now || 0, max || 0);
          return [Math.max(end - SPAN_S, Math.min(min ?? end, end - LEAST_S)), end];
        } },
        y: { range: (u, min, max) => [0, this.top ?? ceiling(max, this.floor, this.binary)] },
      },
      series: [{}, { stroke: colour(`--${this.tone}`), fill: colour(`--${this.tone}-wash`), width: 1.5,
        points: { show: false } }],
      axes: [
        { stroke: ink, font, grid: { show: false }, ticks: { show: false }, size: 22, gap: 4, space: 64,
          values: (u, splits) => {
          const fine = splits.length > 1 && splits[1] - splits[0] < 60;
          const [from, to] = [u.scales.x.min, u.scales.x.max];
          const room = (LABEL[Number(fine)] - EDGE) * ((to - from) / Math.max(1, u.bbox.width / devicePixelRatio));
          // Half a label says nothing.
          return splits.map((t) => (t > to - room ? null : fine ? clock(t) : clock(t).slice(0, 5)));
        } },
        { stroke: ink, font, grid, ticks: { show: false }, size: 52, gap: 4,
          splits: (u) => [0, u.scales.y.max / 2, u.scales.y.max], values: (u, splits) => splits.map(this.axis) },
      ],
      hooks: { setCursor: [(u) => {
        const { idx } = u.cursor;
        this.pointed = idx !== null && idx !== undefined && u.cursor.left >= 0;
        if (!this.pointed) { this.#tell(this.latest, ""); return; }
        const value = this.data[1][idx];
        this.#tell(value === null || value === undefined ? "not known" : this.format(value), clock(this.data[0][idx]));
      }] },
    };
  }
}
