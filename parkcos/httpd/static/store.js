// What is known of the cluster: the last full state, and the changes since. It knows nothing of the page.

import { FAILED } from "./states.js";

const byId = (records) => new Map(records.map((record) => [record.id, record]));

export class Store {
  constructor() {
    this.ready = false;
    this.live = false; // whether the connection is there
    this.mayAct = false; // whether who looks may act, as the program says
    this.version = 0; // grows with each event
    this.taskVersion = 0; // grows when a task changed
    this.skew = 0; // the program's clock minus this browser's, in seconds
    this.clear();
  }

  clear() {
    Object.assign(this, { epoch: "", revision: 0, kind: "client", name: "", state: "", reason: "", started: 0,
      program: "",
      settings: { poll_s: 10, show_args: true }, totals: { submitted: 0, running: 0, done: 0, failed: 0, left_out: 0 },
      clients: [], history: [], time: 0, closedAt: 0 });
    this.nodes = new Map();
    this.servers = new Map();
    this.tasks = new Map();
    this.serversOf = new Map(); // node -> set of servers
    this.tasksOf = new Map(); // server -> set of tasks
    this.counts = {}; // state of tasks -> how many
    this.failure = null; // the failed task that ended last
  }

  /** The program's time now, in Unix seconds. */
  get now() { return Date.now() / 1000 + this.skew; }

  get closed() { return this.state === "closed"; }

  /** Where the charts and the timeline end: now, or when the client was closed, or what is known ends. */
  get end() {
    if (this.closed) return this.closedAt || this.time;
    return this.live ? this.now : this.time;
  }

  replace(full) {
    const again = this.ready && this.epoch !== full.epoch;
    this.clear();
    const { nodes, servers, tasks, version, ...plain } = full;
    Object.assign(this, plain);
    this.program = version;
    this.skew = full.time - Date.now() / 1000;
    this.nodes = byId(nodes);
    for (const server of servers) this.#server(server);
    for (const task of tasks) this.#task(task);
    const last = [...tasks.map((task) => task.ended), ...nodes.map((node) => node.pulse)];
    if (this.closed) this.closedAt = Math.max(0, ...last);
    this.ready = true;
    this.version += 1;
    this.taskVersion += 1;
    return again;
  }

  apply(changes) {
    const before = this.closed;
    for (const key of ["revision", "time", "state", "reason", "totals", "settings"]) {
      if (changes[key] !== undefined) this[key] = changes[key];
    }
    this.skew = changes.time - Date.now() / 1000;
    if (this.closed && !before) this.closedAt = changes.time;
    const { nodes = [], servers = [], tasks = [] } = changes.gone || {};
    for (const id of nodes) this.nodes.delete(id);
    for (const id of servers) this.#forgetServer(id);
    for (const id of tasks) this.#forgetTask(id);
    for (const node of changes.nodes) this.nodes.set(node.id, node);
    for (const server of changes.servers) this.#server(server);
    for (const task of changes.tasks) this.#task(task);
    if (changes.clients) this.clients = changes.clients;
    if (changes.history.length && !this.closed) {
      const newest = this.history.at(-1)?.[0] ?? 0;
      this.history.push(...changes.history.filter(([t]) => t > newest));
      const oldest = this.time - 900;
      let first = 0;
      while (first < this.history.length && this.history[first][0] < oldest) first += 1;
      if (first) this.history.splice(0, first);
    }
    if (changes.tasks.length || tasks.length) this.taskVersion += 1;
    this.version += 1;
  }

  // -- what the pages ask

  server(id) { return this.servers.get(id); }
  node(id) { return this.nodes.get(id); }
  serversAt(node) { return [...(this.serversOf.get(node) || [])].map((id) => this.servers.get(id)); }
  tasksAt(server) { return [...(this.tasksOf.get(server) || [])].map((id) => this.tasks.get(id)); }
  serverName(id) { return this.servers.get(id)?.name || (id ? "a server that is forgotten" : ""); }

  /** The tasks that run at a server, or, if there are none, an empty list. */
  runningAt(server) { return this.tasksAt(server).filter((task) => task.state === "running"); }

  // -- records

  #server(server) {
    this.servers.set(server.id, server);
    if (!this.serversOf.has(server.node)) this.serversOf.set(server.node, new Set());
    this.serversOf.get(server.node).add(server.id);
  }

  #forgetServer(id) {
    const server = this.servers.get(id);
    if (!server) return;
    this.servers.delete(id);
    this.serversOf.get(server.node)?.delete(id);
  }

  #task(task) {
    const before = this.tasks.get(task.id);
    if (before) {
      this.counts[before.state] -= 1;
      if (before.server !== task.server) this.tasksOf.get(before.server)?.delete(task.id);
    }
    this.tasks.set(task.id, task);
    this.counts[task.state] = (this.counts[task.state] || 0) + 1;
    if (task.server) {
      if (!this.tasksOf.has(task.server)) this.tasksOf.set(task.server, new Set());
      this.tasksOf.get(task.server).add(task.id);
    }
    if (FAILED.has(task.state) && (!this.failure || task.ended >= this.failure.ended)) this.failure = task;
    else if (this.failure?.id === task.id) this.#seekFailure();
  }

  #forgetTask(id) {
    const task = this.tasks.get(id);
    if (!task) return;
    this.tasks.delete(id);
    this.counts[task.state] -= 1;
    this.tasksOf.get(task.server)?.delete(id);
    if (this.failure?.id === id) this.#seekFailure();
  }

  #seekFailure() {
    this.failure = null;
    for (const task of this.tasks.values()) {
      if (FAILED.has(task.state) && (!this.failure || task.ended >= this.failure.ended)) this.failure = task;
    }
  }
}
