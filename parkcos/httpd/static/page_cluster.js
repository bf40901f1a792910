// The cluster: what failed, totals, charts, nodes, and the clients that wait.

import { Chart } from "./charts.js";
import { h, icon, setText } from "./dom.js";
import { ago, clock, count, duration, moment, percent, plural, rate } from "./format.js";
import { nodeColumns, pill } from "./parts.js";
import { Table } from "./table.js";

const TAKES = new Set(["running"]);

/** What happened to the tasks, as a bar and as numbers that lead to them. */
class Totals {
  constructor() {
    const all = "#/tasks";
    this.parts = [
      ["running", "Running", "active", `${all}?state=running`], ["queued", "Queued", "quiet", `${all}?state=queued`],
      ["done", "Done", "good", all], ["failed", "Failed", "bad", `${all}?state=failed`]];
    this.numbers = {};
    this.bars = {};
    const tiles = this.parts.map(([key, label, tone, to]) => {
      this.numbers[key] = h("span", { class: "number" });
      return h("a", { class: `tile ${tone}`, href: to },
        h("span", { class: "label" }, h("span", { class: `swatch ${tone}`, "aria-hidden": "true" }), label),
        this.numbers[key]);
    });
    const plain = (key, label) => {
      this.numbers[key] = h("span", { class: "number" });
      return h("div", { class: "tile plain" }, h("span", { class: "label" }, label), this.numbers[key]);
    };
    this.bar = h("div", { class: "bar-of-tasks", role: "img" }, ["good", "bad", "active", "quiet"].map((tone) => {
      this.bars[tone] = h("span", { class: tone });
      return this.bars[tone];
    }));
    this.note = h("p", { class: "note", hidden: true });
    this.element = h("section", { class: "totals", "aria-label": "Totals" }, this.bar,
      h("div", { class: "tiles" }, tiles,
        plain("submitted", "Submitted"), plain("nodes", "Nodes running"), plain("servers", "Servers")), this.note);
  }

  update(store) {
    const { submitted, running, done, failed, left_out: left } = store.totals;
    const queued = Math.max(0, submitted - running - done);
    const nodes = [...store.nodes.values()];
    const up = nodes.filter((node) => TAKES.has(node.state)).length;
    const servers = nodes.reduce((sum, node) => sum + node.servers, 0);
    const texts = { running: count(running), queued: count(queued), done: count(done), failed: count(failed),
      submitted: count(submitted),
      nodes: up === nodes.length ? count(up) : `${count(up)} of ${count(nodes.length)}`, servers: count(servers) };
    for (const [key, text] of Object.entries(texts)) setText(this.numbers[key], text);
    this.numbers.failed.closest(".tile").classList.toggle("some", failed > 0);
    for (const [tone, n] of [["good", done - failed], ["bad", failed], ["active", running], ["quiet", queued]]) {
      this.bars[tone].style.flexGrow = Math.max(0, n);
      this.bars[tone].hidden = n <= 0;
    }
    this.bar.setAttribute("aria-label",
      `Of ${plural(submitted, "task")} ${running} run, ${queued} wait, ${done} are done, ${failed} of them failed`);
    this.note.hidden = left === 0;
    const some = `${plural(left, "ended task")} ${left === 1 ? "is" : "are"}`;
    setText(this.note, `${some} counted here but not listed any more: the program keeps the newest.`);
  }
}

/** Says loudly that tasks failed, and leads to the newest and to all. */
class Failures {
  constructor() {
    this.title = h("strong");
    this.all = h("a", { class: "button", href: "#/tasks?state=failed" }, "Show all that failed");
    this.newest = h("a", { class: "button danger" }, "See its traceback");
    this.what = h("span", { class: "what" });
    this.error = h("code", { class: "error-line" });
    this.element = h("section", { class: "failures", "aria-label": "Failed tasks", hidden: true }, icon("failed"),
      h("div", { class: "said" }, h("p", {}, this.title, " ", this.what), this.error),
      h("div", { class: "choices" }, this.newest, this.all));
  }

  update(store) {
    const { failure } = store;
    this.element.hidden = !failure;
    if (!failure) return;
    setText(this.title, `${plural(store.totals.failed, "task")} failed.`);
    const where = failure.server ? ` at ${store.serverName(failure.server)}` : "";
    setText(this.what, `The last: ${failure.name}${where}, ${ago(failure.ended, store.now)}`);
    setText(this.error, failure.error || "no error is known");
    setText(this.newest, failure.state === "failed" ? "See its traceback" : "See what happened");
    this.newest.href = `#/tasks/${failure.id}`;
    this.all.hidden = store.totals.failed < 2;
  }
}

export class ClusterPage {
  constructor(store) {
    this.store = store;
    this.title = "Cluster";
    const scheduler = store.kind === "scheduler";
    this.heading = h("h1", { tabindex: "-1" });
    this.about = h("p", { class: "about" });
    this.failures = new Failures();
    this.totals = new Totals();
    this.charts = scheduler ? [] : [
      new Chart({ title: "Running tasks", tone: "active", format: (n) => count(Math.round(n)), group: "cluster" }),
      new Chart({ title: "Tasks per second", tone: "accent", format: rate, axis: String, floor: 1, group: "cluster" }),
      new Chart({ title: "CPU in use", tone: "cpu", format: percent, top: 100, group: "cluster" })];
    this.filter = h("input", { type: "search", placeholder: "Find a node",
      "aria-label": "Find a node by its name, address or state", on: { input: () => this.update() } });
    this.nodes = new Table({ name: "Nodes", kind: scheduler ? "nodes serving" : "nodes", columns: nodeColumns(store),
      sort: { key: "addr", down: true },
      empty: "", href: (node) => `#/nodes/${node.id}` });
    this.nodeCount = h("span", { class: "count" });
    this.clients = new Table({ name: "Clients", kind: "clients", sort: { key: "position", down: false },
      empty: "No client wants the cluster now.", columns: [
      { key: "position", label: "Turn", numeric: true,
        text: (client) => (client.state === "running" ? "now" : String(client.position)),
        value: (client) => client.position },
      { key: "name", label: "Client", text: (client) => client.name || "without a name" },
      { key: "state", label: "State", text: (client) => client.state,
        draw: (cell, client) => cell.replaceChildren(pill("client", client.state)) },
      { key: "addr", label: "Address", text: (client) => client.addr },
      { key: "since", label: "Since", numeric: true,
        text: (client) => `${clock(client.since)} (${ago(client.since, store.now)})`,
        value: (client) => client.since }] });
    this.clientsBox = h("section", { class: "card" }, h("div", { class: "head" }, h("h2", {}, "Clients")),
      this.clients.element);
    const nodesBox = h("section", { class: "card" },
      h("div", { class: "head" }, h("h2", {}, "Nodes ", this.nodeCount), h("span", { class: "grow" }), this.filter),
      this.nodes.element);
    this.element = h("div", { class: "page" }, h("div", { class: "title" }, this.heading, this.about),
      this.failures.element, scheduler ? this.clientsBox : this.totals.element,
      this.charts.length
        ? h("section", { class: "charts", "aria-label": "The last 15 minutes" },
          this.charts.map((chart) => chart.element)) : null,
      nodesBox, scheduler ? null : this.clientsBox);
  }

  update() {
    const { store } = this;
    setText(this.heading, store.kind === "scheduler" ? "Shared cluster" : "Cluster");
    this.failures.update(store);
    this.totals.update(store);
    const times = store.history.map(([t]) => t);
    this.charts.forEach((chart, index) => chart.set(times, store.history.map((point) => point[index + 1]), store.end));
    const wanted = this.filter.value.trim().toLowerCase();
    const all = [...store.nodes.values()];
    const text = (node) => `${node.name} ${node.addr} ${node.state} ${node.platform}`.toLowerCase();
    const nodes = wanted ? all.filter((node) => text(node).includes(wanted)) : all;
    this.filter.hidden = all.length < 12 && !wanted;
    setText(this.nodeCount,
      nodes.length === all.length ? count(all.length) : `${count(nodes.length)} of ${count(all.length)}`);
    this.nodes.setRows(nodes, all.length ? "No node is like that."
      : "No node yet. Start one on each machine with parkcosnode.py; it shows here when it is found.");
    this.clientsBox.hidden = store.kind !== "scheduler" && !store.clients.some((client) => client.state === "waiting");
    this.clients.setRows(store.clients);
    this.tick();
  }

  tick() {
    const { store } = this;
    const runs = store.closed ? `from ${moment(store.started, store.now)} to ${moment(store.end, store.now)}`
      : `for ${duration(store.end - store.started)}, since ${moment(store.started, store.now)}`;
    const what = store.kind === "scheduler" ? "The scheduler at " : "";
    setText(this.about, `${what}${store.name} ${store.closed ? "ran" : "has run"} ${runs}`);
    if (!store.closed) { this.nodes.draw(); this.clients.draw(); }
  }

  end() {
    for (const part of [...this.charts, this.nodes, this.clients]) part.end();
  }
}

