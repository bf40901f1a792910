// All tasks: searched, filtered, as a list or over time; selected and terminated.

import { announce, h, icon, setText } from "./dom.js";
import { count, plural } from "./format.js";
import { taskColumns } from "./parts.js";
import { Selection } from "./selection.js";
import { FAILED, state } from "./states.js";
import { Table } from "./table.js";
import { Timeline } from "./timeline.js";

// What can be chosen, and the states that are meant by it.
const CHOICES = new Map([["", null], ["queued", ["queued"]], ["running", ["running"]], ["finished", ["finished"]],
  ["failed", [...FAILED]],
  ["terminated", ["terminated"]], ["cancelled", ["cancelled"]]]);
const SAY_AFTER_MS = 700; // when a person pauses
const AT_TIMES = new Set(["terminated", "cancelled"]); // shown when there are some

export class TasksPage {
  constructor(store, query, offline) {
    Object.assign(this, { store, offline });
    this.title = "Tasks";
    this.filter = { state: CHOICES.has(query.get("state")) ? query.get("state") : "", q: query.get("q") || "",
      server: query.get("server") || "", view: query.get("view") || "list" };
    this.heading = h("h1", { tabindex: "-1" }, "Tasks");
    this.found = h("p", { class: "about" });
    this.search = h("input", { type: "search", value: this.filter.q, placeholder: "Name, argument, error …",
      "aria-label": "Search tasks by name, argument, error or number",
      on: { input: () => this.#set("q", this.search.value) } });
    this.servers = h("select",
      { "aria-label": "Server", on: { change: () => this.#set("server", this.servers.value) } });
    this.chips = new Map();
    this.chipBox = h("div", { class: "chips", role: "group", "aria-label": "State" },
      [...CHOICES.keys()].map((name) => this.#chip(name)));
    this.views = h("div", { class: "segments", role: "group", "aria-label": "View" },
      [["list", "List"], ["timeline", "Timeline"]].map(([view, label]) =>
      h("button", { type: "button", data: { view }, on: { click: () => this.#set("view", view) } }, label)));
    this.selection = new Selection(store, offline, () => this.table);
    this.table = new Table({ name: "Tasks", kind: "tasks all", columns: taskColumns(store, { server: true }),
      sort: { key: "started", down: true },
      empty: "", href: (task) => `#/tasks/${task.id}`, mark: (task) => (FAILED.has(task.state) ? "failed" : ""),
      select: this.selection.boxes });
    this.timeline = new Timeline(store);
    this.list = h("section", { class: "card" }, this.selection.element, this.table.element);
    this.overTime = h("section", { class: "card" }, this.timeline.element, h("p", { class: "note" },
      "A bar is a task; a click leads to it. Drag or use the arrow keys to move, ",
      "Ctrl and the wheel or two fingers to zoom."));
    this.element = h("div", { class: "page" },
      h("div", { class: "title" }, this.heading, this.found, h("span", { class: "grow" }), this.views),
      h("div", { class: "filters" },
        h("div", { class: "finders" }, h("span", { class: "search" }, icon("search"), this.search), this.servers),
        this.chipBox),
      this.list, this.overTime);
  }

  #chip(name) {
    const { label, icon: sign, tone } = name ? state("task", name) : { label: "all", icon: "", tone: "" };
    const number = h("span", { class: "number" });
    const chip = h("button", { type: "button", class: `chip ${tone}`, on: { click: () => this.#set("state", name) } },
      sign ? icon(sign) : null, h("span", {}, label), number);
    this.chips.set(name, { chip, number });
    return chip;
  }

  #set(key, value) {
    this.filter[key] = value;
    const said = Object.entries(this.filter).filter(([name, each]) => each && !(name === "view" && each === "list"));
    const query = new URLSearchParams(said);
    history.replaceState(null, "", `#/tasks${query.size ? `?${query}` : ""}`);
    this.update();
    clearTimeout(this.saying); // what was looked for is said, not each task that comes
    this.saying = setTimeout(() => announce(`${this.found.textContent} shown`), SAY_AFTER_MS);
    if (key === "state" || key === "view") window.scrollTo({ top: 0 });
  }

  #serverChoices() {
    const { store } = this;
    const key = [...store.servers.keys()].join();
    if (this.choicesKey !== key) {
      this.choicesKey = key;
      const groups = [...store.nodes.values()].filter((node) => store.serversAt(node.id).length)
        .sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
      this.servers.replaceChildren(h("option", { value: "" }, "All servers"),
        ...groups.map((node) => h("optgroup", { label: node.name },
        store.serversAt(node.id).map((server) => h("option", { value: server.id }, server.name)))));
    }
    this.servers.value = this.filter.server;
    if (this.servers.selectedIndex < 0) { this.filter.server = ""; this.servers.value = ""; }
  }

  update() {
    const { store, filter } = this;
    this.#serverChoices();
    const words = filter.q.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const has = (task) => {
      if (filter.server && task.server !== filter.server) return false;
      if (words.length === 0) return true;
      const { label } = state("task", task.state);
      const parts = [task.name, task.id, task.args ?? "", task.error, label, store.serverName(task.server)];
      const text = parts.join(" ").toLowerCase();
      return words.every((word) => text.includes(word));
    };
    const among = filter.server || words.length ? [...store.tasks.values()].filter(has) : [...store.tasks.values()];
    const counts = {};
    for (const task of among) counts[task.state] = (counts[task.state] || 0) + 1;
    for (const [name, { chip, number }] of this.chips) {
      const many = name ? CHOICES.get(name).reduce((sum, each) => sum + (counts[each] || 0), 0) : among.length;
      setText(number, count(many));
      chip.hidden = AT_TIMES.has(name) && many === 0 && filter.state !== name;
      chip.setAttribute("aria-pressed", String(filter.state === name));
      chip.classList.toggle("some", many > 0);
    }
    const states = CHOICES.get(filter.state);
    const rows = states ? among.filter((task) => states.includes(task.state)) : among;
    const filtered = Boolean(filter.state || filter.server || words.length);
    const all = plural(store.tasks.size, "task");
    setText(this.found, filtered ? `${count(rows.length)} of ${all}` : all);
    for (const button of this.views.children) {
      button.setAttribute("aria-pressed", String(button.dataset.view === filter.view));
    }
    const list = filter.view === "list";
    this.list.hidden = !list;
    this.overTime.hidden = list;
    if (list) {
      this.table.table.classList.toggle("errors", filter.state === "failed");
      const empty = filter.state === "failed" && among.length === store.tasks.size ? "No task has failed."
        : filtered ? "No task is like that." : "No task yet. What the program submits shows here.";
      this.table.setRows(rows, empty);
    } else {
      const servers = [...store.servers.values()]
        .filter((server) => (filter.server ? server.id === filter.server : store.tasksAt(server.id).length));
      servers.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
      const shown = (task) => (!states || states.includes(task.state)) && has(task);
      this.timeline.set(servers, filter.state || words.length ? shown : null);
    }
  }

  tick() {
    if (this.filter.view === "list" && !this.store.closed) this.table.draw();
  }

  end() {
    clearTimeout(this.saying);
    this.table.end();
    this.timeline.end();
  }
}
