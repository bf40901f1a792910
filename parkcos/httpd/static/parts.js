// Small parts that several pages share.

import { h, icon, setText } from "./dom.js";
import { address, ago, bytes, count, duration, moment, percent } from "./format.js";
import { state } from "./states.js";

export function pill(kind, name, reason = "") {
  const { label, icon: sign, tone, meaning } = state(kind, name);
  return h("span", { class: `pill ${tone}`, title: reason ? `${meaning}: ${reason}` : meaning || null }, icon(sign),
    h("span", {}, label));
}

/** Replaces what an element holds by a pill, if that would say something else. */
export function setPill(element, kind, name, reason = "") {
  const key = `${name}\n${reason}`;
  if (element.pillKey === key) return;
  element.pillKey = key;
  element.replaceChildren(pill(kind, name, reason));
}

export const link = (to, text) => h("a", { href: to, title: text }, text);

export function crumbs(...steps) {
  return h("nav", { class: "crumbs", "aria-label": "Where this is" }, h("ol", {}, steps.map(([text, to]) =>
    h("li", {}, to ? h("a", { href: to }, text) : h("span", { "aria-current": "page" }, text)))));
}

/** A list of facts; set("name", value) shows one, and hides it when there is nothing to say. */
export class Facts {
  constructor(...names) {
    this.values = new Map();
    this.element = h("dl", { class: "facts" }, names.map((name) => {
      const value = h("dd");
      const fact = h("div", { class: "fact" }, h("dt", {}, name), value);
      this.values.set(name, { fact, value });
      return fact;
    }));
  }

  set(name, content) {
    const { fact, value } = this.values.get(name);
    fact.hidden = content === "" || content === null || content === undefined;
    if (content instanceof Node) value.replaceChildren(content);
    else setText(value, content ?? "");
  }

  setLink(name, to, text) {
    const { fact, value } = this.values.get(name);
    fact.hidden = !text;
    if (value.key === `${to}\n${text}`) return;
    value.key = `${to}\n${text}`;
    value.replaceChildren(to ? link(to, text) : text);
  }
}

/** How long a task ran, or has run; null if it did not. */
export function took(task, now) {
  if (!task.started || task.state === "queued") return null;
  return Math.max(0, (task.ended || now) - task.started);
}

/** How many tasks a node or server runs, has done, and so on. */
export function tally({ running, done, submitted, failed }) {
  const bad = failed ? `, ${count(failed)} failed` : "";
  return `${count(running)} running, ${count(done)} of ${count(submitted)} done${bad}`;
}

/** What is free of a node's swap: in bytes. */
export const swapText = (node) => bytes(node.swap);

const stateColumn = (kind) => ({
  key: "state", label: "State", text: (row) => `${row.state}\n${row.reason || ""}`,
  value: (row) => state(kind, row.state).label,
  draw: (cell, row) => cell.replaceChildren(pill(kind, row.state, row.reason)),
});

const linked = (to) => (cell, row, text) => cell.replaceChildren(link(to(row), text));

/** Nodes' and servers' columns with numbers of tasks. */
const tallies = [
  { key: "running", label: "Running", numeric: true, text: (row) => String(row.running), value: (row) => row.running },
  { key: "submitted", label: "Submitted", numeric: true, from: "l", text: (row) => String(row.submitted),
    value: (row) => row.submitted },
  { key: "done", label: "Done", numeric: true, text: (row) => String(row.done), value: (row) => row.done },
  { key: "failed", label: "Failed", numeric: true, text: (row) => String(row.failed), value: (row) => row.failed,
    draw: (cell, row, text) => cell.replaceChildren(row.failed ? h("span", { class: "bad-number" }, text) : text) },
];

export function nodeColumns(store) {
  const scheduler = store.kind === "scheduler";
  return [
    { key: "name", label: "Node", text: (node) => node.name || address(node),
      draw: linked((node) => `#/nodes/${node.id}`) },
    stateColumn("place"),
    { key: "addr", label: "Address", from: "l", text: (node) => node.addr, value: address,
      draw: linked((node) => `#/nodes/${node.id}`) },
    scheduler
      ? { key: "servers", label: "CPUs", numeric: true, from: "m", text: (node) => String(node.cpus),
        value: (node) => node.cpus }
      : { key: "servers", label: "Servers", numeric: true, from: "m", text: (node) => String(node.servers),
        value: (node) => node.servers },
    ...(scheduler ? [{ key: "serves", label: "Serves", text: (node) => node.client || "nobody" }] : tallies),
    { key: "cpu", label: "CPU free", numeric: true, text: (node) => percent(node.cpu), value: (node) => node.cpu,
      draw: drawMeter },
    { key: "memory", label: "Memory free", short: "Free", numeric: true, from: "m", text: (node) => bytes(node.memory),
      value: (node) => node.memory },
    { key: "disk", label: "Disk free", numeric: true, from: "l", text: (node) => bytes(node.disk),
      value: (node) => node.disk },
    { key: "swap", label: "Swap free", numeric: true, from: "xl", text: (node) => swapText(node),
      value: (node) => node.swap },
    { key: "pulse", label: "Pulse", title: "Last sign of life", numeric: true,
      text: (node) => ago(node.pulse, store.now), value: (node) => node.pulse },
  ];
}

/** How much is free, as a bar beside the number. */
function drawMeter(cell, node, text) {
  const bar = h("span", { class: "meter", "aria-hidden": "true" }, h("span"));
  bar.firstChild.style.width = `${node.cpu ?? 0}%`;
  cell.replaceChildren(bar, h("span", {}, text));
}

export function serverColumns(store, { node = false } = {}) {
  return [
    { key: "name", label: "Server", text: (server) => server.name, draw: linked((server) => `#/servers/${server.id}`) },
    { key: "addr", label: "Location", from: "l", text: address, draw: linked((server) => `#/servers/${server.id}`) },
    ...(node ? [{ key: "node", label: "Node", text: (server) => store.node(server.node)?.name || "" }] : []),
    stateColumn("place"),
    { key: "now", label: "Runs now", sort: false,
      text: (server) => store.runningAt(server.id).map((task) => task.name).join(", ") || "nothing",
      draw: (cell, server, text) => {
        const tasks = store.runningAt(server.id);
        cell.classList.toggle("faint", tasks.length === 0);
        cell.replaceChildren(tasks.length ? link(`#/tasks/${tasks[0].id}`, tasks[0].name) : text,
          tasks.length > 1 ? ` and ${tasks.length - 1} more` : "");
      } },
    ...tallies,
  ];
}

/** server, error: whether there are such columns; args: the least width of a page that shows the arguments. */
export function taskColumns(store, { server = false, error = true, args = "xxl" } = {}) {
  return [
    stateColumn("task"),
    { key: "name", label: "Task", text: (task) => task.name, draw: (cell, task, text) => {
      cell.replaceChildren(link(`#/tasks/${task.id}`, text),
        task.io ? h("span", { class: "tag", title: "An I/O task: it shares its server with others" }, "I/O") : "");
    } },
    { key: "id", label: "No.", numeric: true, from: "m", title: "Number", text: (task) => String(task.id),
      value: (task) => task.id },
    ...(args ? [{ key: "args", label: "Arguments", from: args, sparse: true, text: (task) => task.args ?? "",
      draw: (cell, task, text) => { cell.textContent = text; cell.title = text; } }] : []),
    ...(server ? [{ key: "server", label: "Server",
      text: (task) => (task.server ? store.serverName(task.server) : task.state === "queued" ? "no server yet" : ""),
      draw: (cell, task, text) => cell.replaceChildren(
        task.server ? link(`#/servers/${task.server}`, text) : h("span", { class: "faint" }, text)) }] : []),
    { key: "started", label: "Started", numeric: true,
      text: (task) => (task.started && task.state !== "queued" ? moment(task.started, store.now) : ""),
      value: (task) => (task.state === "queued" ? null : task.started || null) },
    { key: "took", label: "Took", title: "How long it ran, or has run", numeric: true,
      text: (task) => (took(task, store.now) === null ? "" : duration(took(task, store.now))),
      value: (task) => took(task, store.now) },
    ...(error ? [{ key: "error", label: "Error", sparse: true, text: (task) => task.error,
      draw: (cell, task, text) => cell.replaceChildren(
        text ? h("a", { href: `#/tasks/${task.id}`, class: "error-line", title: text }, text) : "") }] : []),
  ];
}

