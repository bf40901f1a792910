// A node: what it has, its servers and what each does, its charts, and what can be done to it.

import { Actions } from "./actions.js";
import { Asker } from "./api.js";
import { Chart } from "./charts.js";
import { h, setText } from "./dom.js";
import { address, ago, bytes, count, moment, percent, platform, plural } from "./format.js";
import { Facts, crumbs, serverColumns, setPill, swapText, tally } from "./parts.js";
import { state } from "./states.js";
import { Table } from "./table.js";
import { Timeline } from "./timeline.js";

const ENDED = new Set(["closed", "lost"]);

export class NodePage {
  constructor(store, id, offline) {
    Object.assign(this, { store, id, offline });
    const node = store.node(id);
    this.title = node.name || address(node);
    this.heading = h("h1", { tabindex: "-1" }, this.title);
    this.pill = h("span");
    this.actions = new Actions("nodes", store.mayAct);
    this.facts = new Facts("Address", "Platform", "CPUs", "CPU free", "Memory free", "Disk free", "Swap free",
      "Last sign of life", "Serves", "Tasks", "State");
    this.charts = [
      new Chart({ title: "CPU in use", tone: "cpu", format: percent, top: 100, group: id }),
      new Chart({ title: "Memory free", tone: "accent", format: bytes,
        axis: (n) => (n ? bytes(n).replace(".0", "") : "0"), floor: 1 << 20, binary: true, group: id }),
      new Chart({ title: "Running tasks", tone: "active", format: (n) => count(Math.round(n)), group: id })];
    this.servers = new Table({ name: "Servers", kind: "servers", columns: serverColumns(store),
      sort: { key: "name", down: false },
      empty: "It has no server now.", href: (server) => `#/servers/${server.id}` });
    this.showEnded = h("input", { type: "checkbox", on: { change: () => this.update() } });
    this.endedText = h("span");
    this.endedBox = h("label", { class: "check", hidden: true }, this.showEnded, this.endedText);
    this.timeline = new Timeline(store, { rows: 12 });
    this.asker = new Asker(`api/nodes/${encodeURIComponent(id)}`, (answer) => {
      this.#history(answer.history);
      this.#printed(answer.output || []);
    });
    this.output = h("pre", { class: "output", tabindex: "0", "aria-label": "What its setup printed" });
    this.outputBox = h("section", { class: "card", hidden: true },
      h("div", { class: "head" }, h("h2", {}, "Output of its setup"),
        h("span", { class: "count" }, "the last 200 lines")), this.output);
    this.timelineBox = h("section", { class: "card" }, h("div", { class: "head" }, h("h2", {}, "Timeline")),
      this.timeline.element);
    this.element = h("div", { class: "page" }, crumbs(["Cluster", "#/"], [this.title]),
      h("div", { class: "title" }, this.heading, this.pill, h("span", { class: "grow" }), this.actions.element),
      this.facts.element,
      h("section", { class: "card" },
        h("div", { class: "head" }, h("h2", {}, "Servers"), h("span", { class: "grow" }), this.endedBox),
        this.servers.element),
      h("section", { class: "charts", "aria-label": "The last 15 minutes" }, this.charts.map((chart) => chart.element)),
      this.timelineBox, this.outputBox);
  }

  update() {
    const { store } = this;
    this.node = store.node(this.id) || this.node;
    this.asker.ask();
    const servers = store.serversAt(this.id).sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
    const lives = servers.filter((server) => !ENDED.has(server.state));
    const ended = servers.length - lives.length;
    const all = this.showEnded.checked || lives.length === 0;
    this.servers.setRows(all ? servers : lives);
    this.endedBox.hidden = ended === 0 || lives.length === 0;
    setText(this.endedText, `Show ${plural(ended, "server")} that ended`);
    this.timelineBox.hidden = !servers.some((server) => store.tasksAt(server.id).length);
    this.timeline.set(servers);
    this.tick();
  }

  tick() {
    const { node, store, facts } = this;
    setPill(this.pill, "place", node.state, node.reason);
    this.actions.show(node, this.offline());
    const { meaning } = state("place", node.state);
    facts.set("Address", address(node));
    facts.set("Platform", platform(node.platform));
    facts.set("CPUs", node.cpus ? count(node.cpus) : "");
    facts.set("CPU free", node.cpu === null ? "" : percent(node.cpu));
    facts.set("Memory free", node.memory === null ? "" : bytes(node.memory));
    facts.set("Disk free", node.disk === null ? "" : bytes(node.disk));
    facts.set("Swap free", node.swap === null ? "" : swapText(node));
    facts.set("Last sign of life",
      node.pulse ? `${moment(node.pulse, store.now)}${store.closed ? "" : ` (${ago(node.pulse, store.now)})`}` : "");
    facts.set("Serves", node.client || "");
    facts.set("Tasks", store.kind === "scheduler" ? "" : tally(node));
    facts.set("State", node.reason ? `${meaning}: ${node.reason}` : node.state === "running" ? "" : meaning);
    this.servers.draw();
  }

  #history(points) {
    const times = points.map(([t]) => t);
    this.charts.forEach((chart, index) => chart.set(times, points.map((point) => point[index + 1]), this.store.end));
  }

  #printed(lines) {
    this.outputBox.hidden = lines.length === 0;
    setText(this.output, lines.join("\n"));
  }

  end() {
    this.asker.end();
    for (const part of [...this.charts, this.servers, this.timeline]) part.end();
  }
}
