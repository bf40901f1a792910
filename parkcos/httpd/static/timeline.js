// Which server ran what, and when: a canvas that is as high as the page shows of it, however many servers there are.

import { h, setText } from "./dom.js";
import { clock, duration } from "./format.js";
import { TONES, lay, ticks } from "./lanes.js";
import { state } from "./states.js";

const ROW = 26;
const AXIS = 24;
const LEAST_SPAN_S = 0.05;
const SPANS = [["60", "Last minute"], ["300", "Last 5 minutes"], ["900", "Last 15 minutes"], ["3600", "Last hour"],
  ["all", "The whole run"]];

export class Timeline {
  /** rows: the most rows that are seen without scrolling. */
  constructor(store, { rows = 24, span = "900" } = {}) {
    Object.assign(this, { store, most: rows, servers: [], laid: new Map(), kept: new Map(), laidAt: -1, keep: null,
      follow: true, span, pointers: new Map() });
    this.canvas = h("canvas", { role: "img" });
    this.spacer = h("div", { class: "timeline-all" }, this.canvas);
    this.scroller = h("div", { class: "timeline-box", tabindex: "0", role: "group",
      "aria-label": "Timeline. Arrow keys move it, plus and minus zoom, End goes back to now." }, this.spacer);
    this.tip = h("div", { class: "tip", hidden: true });
    this.ranges = h("select",
      { "aria-label": "Time that is shown", on: { change: () => this.#choose(this.ranges.value) } },
      SPANS.map(([value, label]) => h("option", { value, selected: value === span }, label)),
      h("option", { value: "own", hidden: true }, "As zoomed"));
    this.live = h("button", { type: "button", "aria-pressed": "true",
      on: { click: () => { this.follow = !this.follow; this.dirty(); } } }, "Follow");
    const button = (label, text, factor) => h("button", { type: "button", class: "icon", "aria-label": label,
      on: { click: () => this.#zoom(factor) } }, text);
    this.legend = h("ul", { class: "legend" }, [["active", "running"], ["good", "finished"], ["bad", "failed, lost"],
      ["warn", "terminated, timed out"]].map(([tone, text]) =>
      h("li", {}, h("span", { class: `swatch ${tone}`, "aria-hidden": "true" }), text)));
    this.element = h("div", { class: "timeline" },
      h("div", { class: "timeline-tools" }, this.ranges, button("Zoom in", "+", 0.5), button("Zoom out", "−", 2),
        this.live, h("span", { class: "grow" }), this.legend),
      this.scroller, this.tip);
    this.#listen();
    this.timer = setInterval(() => this.#tick(), 250);
  }

  end() {
    clearInterval(this.timer);
    cancelAnimationFrame(this.frame);
    this.resize.disconnect();
    document.documentElement.removeEventListener("themechange", this.retheme);
  }

  /** servers: the rows; keep(task): whether it stands out, or null for all. */
  set(servers, keep = null) {
    this.servers = servers;
    this.keep = keep;
    this.kept.clear();
    if (this.laidAt !== this.store.taskVersion) {
      this.laidAt = this.store.taskVersion;
      this.laid.clear();
    }
    const height = servers.length * ROW + AXIS;
    this.spacer.style.height = `${height}px`;
    this.scroller.style.height = `${Math.min(height, this.most * ROW + AXIS)}px`;
    const many = servers.reduce((sum, server) => sum + this.store.tasksAt(server.id).length, 0);
    this.canvas.setAttribute("aria-label",
      `Timeline of ${many} tasks at ${servers.length} servers. The list of tasks has the same as a table.`);
    this.dirty();
  }

  dirty() {
    if (!this.frame) this.frame = requestAnimationFrame(() => { this.frame = 0; this.#draw(); });
  }

  // -- which time

  /** How long it is since the first task began. */
  #whole() {
    let first = Infinity;
    for (const server of this.servers) {
      const { starts } = this.#lay(server.id);
      if (starts.length) first = Math.min(first, starts[0]);
    }
    return Math.max(10, (Number.isFinite(first) ? this.store.end - first : 60) * 1.02);
  }

  #window() {
    if (this.span !== "own") this.seconds = Math.min(this.#whole(), this.span === "all" ? Infinity : Number(this.span));
    if (this.follow) this.to = this.store.end;
    return [this.to - this.seconds, this.to];
  }

  #choose(span) {
    this.span = span;
    this.follow = true;
    this.dirty();
  }

  /** Where a point lies in the time that is shown, from 0 to 1. x: from the canvas's left. */
  #share(x) {
    return Math.min(1, Math.max(0, (x - this.gutter) / (this.width - this.gutter)));
  }

  /** Zooms around a place, a share of the width; without one, the end stays while it follows, else the middle. */
  #zoom(factor, share = this.follow ? 1 : 0.5) {
    const [from, to] = this.#window();
    const at = from + (to - from) * share;
    const seconds = Math.min(Math.max((to - from) * factor, LEAST_SPAN_S), 90 * 86400);
    this.span = this.ranges.value = "own";
    this.seconds = seconds;
    this.follow = this.follow && share > 0.98;
    this.to = at + seconds * (1 - share);
    this.dirty();
  }

  #pan(seconds) {
    const [, to] = this.#window();
    this.to = Math.min(to + seconds, this.store.end + this.seconds * 0.5);
    this.follow = this.to >= this.store.end && seconds > 0;
    this.dirty();
  }

  #tick() {
    if (!this.follow || this.store.closed || document.hidden || !this.width) return;
    if (this.store.now - (this.drawnAt || 0) > Math.max(this.seconds / this.width, 0.25)) this.dirty();
  }

  // -- drawing

  #lay(server) {
    let laid = this.laid.get(server);
    if (!laid) this.laid.set(server, laid = lay(this.store.tasksAt(server)));
    return laid;
  }

  /** Which of a server's tasks stand out, asked once for each: it is a search in texts. */
  #keeps(server, tasks) {
    if (!this.keep) return null;
    let kept = this.kept.get(server);
    if (!kept) this.kept.set(server, kept = Uint8Array.from(tasks, this.keep));
    return kept;
  }

  #colours() {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(name).trim();
    this.colours = { tones: TONES.map((tone) => of(`--${tone}-bar`)), ink: of("--ink"), muted: of("--muted"),
      line: of("--line"), back: of("--surface"),
      onBar: TONES.map((tone) => of(tone === "bad" ? "--on-bad" : "--on-bar")) };
    this.font = getComputedStyle(document.body).fontFamily;
  }

  #fit() {
    const width = this.scroller.clientWidth;
    const height = this.scroller.clientHeight;
    const ratio = window.devicePixelRatio || 1;
    if (this.width !== width || this.height !== height || this.ratio !== ratio) {
      Object.assign(this, { width, height, ratio });
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
      this.canvas.style.width = `${width}px`;
      this.canvas.style.height = `${height}px`;
    }
    this.inset = width < 560 ? 12 : 16; // as the text of the cards
    this.gutter = this.inset + (width < 560 ? 76 : 128);
  }

  #draw() {
    this.#fit();
    if (!this.width) return;
    if (!this.colours) this.#colours();
    const [from, to] = this.#window();
    Object.assign(this, { from, drawnAt: this.store.now });
    const { colours, gutter, width, height, canvas, ratio } = this;
    const c = canvas.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.fillStyle = colours.back;
    c.fillRect(0, 0, width, height);
    this.scale = (width - gutter) / (to - from);
    const { step, marks } = ticks(from, to, width - gutter, width < 560 ? 72 : 96);
    c.strokeStyle = colours.line;
    c.lineWidth = 1;
    c.beginPath();
    for (const mark of marks) {
      const x = Math.round(gutter + (mark - from) * this.scale) + 0.5;
      c.moveTo(x, AXIS - 4);
      c.lineTo(x, height);
    }
    c.stroke();
    const top = this.scroller.scrollTop;
    const first = Math.max(0, Math.floor(top / ROW));
    const last = Math.min(this.servers.length, Math.ceil((top + height - AXIS) / ROW));
    c.save();
    c.beginPath();
    c.rect(0, AXIS, width, height - AXIS);
    c.clip();
    for (let row = first; row < last; row += 1) this.#drawRow(c, this.servers[row], AXIS + row * ROW - top, from, to);
    c.restore();
    c.fillStyle = colours.muted;
    c.font = `11px ${this.font}`;
    c.textBaseline = "middle";
    c.textAlign = "center";
    for (const mark of marks) {
      const x = gutter + (mark - from) * this.scale;
      const time = clock(mark);
      const text = step < 1 ? `${time}.${Math.round((mark % 1) * 10) % 10}` : step < 60 ? time : time.slice(0, 5);
      if (x > gutter + 20 && x < width - 24) c.fillText(text, x, AXIS / 2 - 1);
    }
    this.live.setAttribute("aria-pressed", String(this.follow));
    this.live.disabled = this.store.closed;
  }

  #drawRow(c, server, y, from, to) {
    const { colours, gutter, width, scale } = this;
    c.strokeStyle = colours.line;
    c.beginPath();
    c.moveTo(0, Math.round(y + ROW) - 0.5);
    c.lineTo(width, Math.round(y + ROW) - 0.5);
    c.stroke();
    c.save();
    c.beginPath();
    c.rect(gutter, y, width - gutter, ROW);
    c.clip();
    const { tasks, starts, ends, lanes, of, tones } = this.#lay(server.id);
    const kept = this.#keeps(server.id, tasks);
    const reached = new Map(); // lane and lanes -> how far that is painted
    const now = this.store.end;
    for (let pass = 0; pass < 2; pass += 1) { // those that do not stand out first, and pale
      if (pass === 0 && !kept) continue;
      c.globalAlpha = pass === 0 ? 0.18 : 1;
      for (let tone = 0; tone < TONES.length; tone += 1) {
        c.fillStyle = colours.tones[tone];
        reached.clear();
        for (let index = 0; index < tasks.length; index += 1) {
          if (starts[index] > to) break;
          if (tones[index] !== tone) continue;
          const end = Math.min(ends[index], now);
          if (end < from || (kept && kept[index] !== pass)) continue;
          const left = gutter + Math.max(-2, (starts[index] - from) * scale);
          const right = Math.min(width + 2, gutter + (end - from) * scale);
          const place = lanes[index] * 65536 + of[index];
          if (right <= (reached.get(place) ?? -1)) continue;
          const lane = (ROW - 6) / of[index];
          const thick = Math.max(1, lane - (lane > 4 ? 1 : 0));
          const top = y + 3 + lanes[index] * lane;
          const long = right - left;
          const shown = Math.max(tone === 3 ? 2.5 : 1, long > 3 ? long - 1 : long);
          c.fillRect(left, top, shown, thick);
          reached.set(place, left + shown);
          if (thick >= 13 && long > 44 && pass === 1) {
            this.#drawName(c, tasks[index].name, left, right, top + thick / 2, tone);
          }
        }
      }
    }
    c.globalAlpha = 1;
    c.restore();
    c.fillStyle = colours.ink;
    c.font = `12px ${this.font}`;
    c.textBaseline = "middle";
    c.textAlign = "left";
    c.fillText(fitted(c, server.name, gutter - this.inset - 8), this.inset, y + ROW / 2);
  }

  #drawName(c, name, left, right, y, tone) {
    const start = Math.max(left, this.gutter) + 5;
    const room = right - start - 5;
    if (room < 30) return;
    c.fillStyle = this.colours.onBar[tone];
    c.font = `11px ${this.font}`;
    c.textBaseline = "middle";
    c.textAlign = "left";
    c.fillText(fitted(c, name, room), start, y + 0.5);
    c.fillStyle = this.colours.tones[tone];
  }

  // -- what the person does

  #at(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = event.clientX - box.left;
    const y = event.clientY - box.top;
    const row = Math.floor((y - AXIS + this.scroller.scrollTop) / ROW);
    if (y < AXIS || row < 0 || row >= this.servers.length) return { x, y };
    const server = this.servers[row];
    if (x < this.gutter) return { x, y, server };
    const { tasks, starts, ends, lanes, of, tones } = this.#lay(server.id);
    const within = y - AXIS + this.scroller.scrollTop - row * ROW - 3;
    const t = this.from + (x - this.gutter) / this.scale;
    const slack = 3 / this.scale;
    let best = -1;
    for (let index = 0; index < tasks.length && starts[index] <= t + slack; index += 1) {
      if (ends[index] + slack < t) continue;
      const lane = Math.floor((within * of[index]) / (ROW - 6));
      if (lanes[index] !== Math.min(of[index] - 1, Math.max(0, lane))) continue;
      const inside = starts[index] <= t && t <= ends[index];
      if (best < 0 || tones[index] > tones[best] || (inside && tones[index] === tones[best])) best = index;
    }
    return { x, y, server, task: best < 0 ? null : tasks[best] };
  }

  #point(event) {
    const { x, y, server, task } = this.#at(event);
    this.canvas.classList.toggle("pointing", Boolean(task || (server && x < this.gutter)));
    this.tip.hidden = !task;
    if (!task) return;
    const { label } = state("task", task.state);
    const took = duration((task.ended || this.store.end) - task.started);
    setText(this.tip, [`${task.name} (No. ${task.id})`, `${label} · ${clock(task.started)} · ${took} · ${server.name}`,
      ...(task.error ? [task.error] : [])].join("\n"));
    const box = this.scroller;
    const left = Math.min(x + 12, box.clientWidth - this.tip.offsetWidth - 4);
    const above = y + 18 + this.tip.offsetHeight > box.clientHeight;
    const down = box.offsetTop + (above ? y - this.tip.offsetHeight - 8 : y + 18);
    this.tip.style.transform = `translate(${Math.max(0, left)}px, ${down}px)`;
  }

  #listen() {
    this.resize = new ResizeObserver(() => this.dirty());
    this.resize.observe(this.scroller);
    this.retheme = () => { this.colours = null; this.dirty(); };
    document.documentElement.addEventListener("themechange", this.retheme);
    this.scroller.addEventListener("scroll", () => this.dirty(), { passive: true });
    this.scroller.addEventListener("keydown", (event) => this.#key(event));
    const { canvas, pointers } = this;
    canvas.addEventListener("wheel", (event) => {
      const box = canvas.getBoundingClientRect();
      if (event.ctrlKey || event.metaKey) {
        event.preventDefault();
        this.#zoom(Math.exp(Math.sign(event.deltaY) * Math.min(0.5, Math.abs(event.deltaY) / 200)),
          this.#share(event.clientX - box.left));
      } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        event.preventDefault();
        this.#pan((event.deltaX || event.deltaY) / this.scale);
      }
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      pointers.set(event.pointerId, { x: event.clientX, moved: 0 });
    });
    canvas.addEventListener("pointermove", (event) => {
      const pointer = pointers.get(event.pointerId);
      if (!pointer) { this.#point(event); return; }
      const before = pointer.x;
      pointer.x = event.clientX;
      pointer.moved += Math.abs(event.clientX - before);
      if (pointer.moved < 5) return;
      if (!canvas.hasPointerCapture(event.pointerId)) canvas.setPointerCapture(event.pointerId);
      this.tip.hidden = true;
      if (pointers.size === 1) { this.#pan((before - event.clientX) / this.scale); return; }
      const [other] = [...pointers.entries()].filter(([id]) => id !== event.pointerId).map(([, each]) => each);
      const wide = Math.abs(event.clientX - other.x);
      const was = Math.abs(before - other.x);
      if (wide > 10 && was > 10) this.#zoom(was / wide, this.#share(other.x - canvas.getBoundingClientRect().left));
    });
    const up = (event) => {
      const pointer = pointers.get(event.pointerId);
      pointers.delete(event.pointerId);
      if (!pointer || pointer.moved >= 5 || event.type === "pointercancel") return;
      const { server, task, x } = this.#at(event);
      if (task) location.hash = `#/tasks/${task.id}`;
      else if (server && x < this.gutter) location.hash = `#/servers/${server.id}`;
    };
    canvas.addEventListener("pointerup", up);
    canvas.addEventListener("pointercancel", up);
    canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; });
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = { ArrowLeft: -0.2, ArrowRight: 0.2 };
    if (event.key in moves) this.#pan(moves[event.key] * this.seconds);
    else if (event.key === "+" || event.key === "=") this.#zoom(0.5);
    else if (event.key === "-") this.#zoom(2);
    else if (event.key === "End") { this.follow = true; this.dirty(); }
    else return;
    event.preventDefault();
  }
}

const lengths = new Map(); // the width of a letter, about: measuring each name would cost more than drawing it

function fitted(c, text, room) {
  if (!lengths.has(c.font)) lengths.set(c.font, c.measureText("abcdefghijklmnopqrstuvwxyz0123456789").width / 36);
  const letters = Math.floor(room / lengths.get(c.font));
  if (text.length <= letters * 0.9 || (text.length < letters * 1.4 && c.measureText(text).width <= room)) return text;
  return letters < 3 ? "" : `${text.slice(0, letters - 1)}…`;
}
