// A server: what runs there and what has ended, to be selected and terminated; what it printed last.

import { Actions } from "./actions.js";
import { Asker } from "./api.js";
import { h, setText } from "./dom.js";
import { address, count, plural } from "./format.js";
import { Facts, crumbs, setPill, tally, taskColumns } from "./parts.js";
import { Selection } from "./selection.js";
import { ENDED_PLACE, FAILED, LIVES, state } from "./states.js";
import { Table } from "./table.js";
import { Timeline } from "./timeline.js";

export class ServerPage {
  constructor(store, id, offline) {
    Object.assign(this, { store, id, offline });
    const server = store.server(id);
    this.title = server.name;
    const node = store.node(server.node);
    this.heading = h("h1", { tabindex: "-1" }, this.title);
    this.pill = h("span");
    this.actions = new Actions("servers", store.mayAct);
    this.facts = new Facts("Node", "Address", "Tasks", "State", "In its place");
    this.selection = new Selection(store, offline, () => this.running);
    this.running = new Table({ name: "Running tasks", kind: "tasks",
      columns: taskColumns(store, { error: false, args: "m" }), sort: { key: "started", down: true },
      empty: "No task runs here now.", href: (task) => `#/tasks/${task.id}`,
      select: this.selection.boxes });
    this.ended = new Table({ name: "Ended tasks", kind: "tasks", columns: taskColumns(store),
      sort: { key: "started", down: true },
      empty: "No task has ended here yet.", href: (task) => `#/tasks/${task.id}`,
      mark: (task) => (FAILED.has(task.state) ? "failed" : "") });
    this.timeline = new Timeline(store, { rows: 1 });
    this.output = h("pre", { class: "output", tabindex: "0", "aria-label": "What it printed last" });
    this.outputNote = h("p", { class: "empty" }, "Nothing was printed here yet.");
    this.asker = new Asker(`api/servers/${encodeURIComponent(id)}`, (answer) => this.#printed(answer.output));
    this.counts = [h("span", { class: "count" }), h("span", { class: "count" })];
    this.showFailed = h("a", { class: "button small", href: `#/tasks?state=failed&server=${id}` });
    const section = (title, ...content) => h("section", { class: "card" }, h("div", { class: "head" }, title), content);
    this.element = h("div", { class: "page" },
      crumbs(["Cluster", "#/"], ...(node ? [[node.name, `#/nodes/${node.id}`]] : []), [this.title]),
      h("div", { class: "title" }, this.heading, this.pill, h("span", { class: "grow" }), this.actions.element),
      this.facts.element,
      section(h("h2", {}, "Running tasks ", this.counts[0]), this.selection.element, this.running.element),
      section(h("h2", {}, "Timeline"), this.timeline.element),
      section([h("h2", {}, "Output"), h("span", { class: "count" }, "the last 200 lines")], this.outputNote,
        this.output),
      section([h("h2", {}, "Ended tasks ", this.counts[1]), h("span", { class: "grow" }), this.showFailed],
        this.ended.element));
  }

  update() {
    const { store } = this;
    this.server = store.server(this.id) || this.server;
    this.asker.ask();
    const tasks = store.tasksAt(this.id);
    const live = tasks.filter((task) => LIVES.has(task.state));
    this.running.setRows(live);
    this.ended.setRows(tasks.filter((task) => !LIVES.has(task.state)));
    setText(this.counts[0], count(live.length));
    setText(this.counts[1], count(tasks.length - live.length));
    const failed = tasks.filter((task) => FAILED.has(task.state)).length;
    this.showFailed.hidden = failed === 0;
    setText(this.showFailed, `${count(failed)} failed`);
    this.timeline.set([this.server]);
    this.tick();
  }

  tick() {
    const { server, store, facts } = this;
    setPill(this.pill, "place", server.state, server.reason);
    this.actions.show(server, this.offline());
    const node = store.node(server.node);
    facts.setLink("Node", node ? `#/nodes/${node.id}` : "", node?.name || "");
    facts.set("Address", address(server));
    facts.set("Tasks", tally(server));
    const { meaning } = state("place", server.state);
    facts.set("State", server.reason ? `${meaning}: ${server.reason}` : server.state === "running" ? "" : meaning);
    const next = ENDED_PLACE.has(server.state) && store.serversAt(server.node)
      .find((each) => each.name === server.name && !ENDED_PLACE.has(each.state));
    facts.setLink("In its place", next ? `#/servers/${next.id}` : "", next ? `${next.name}, started anew` : "");
    this.running.draw();
  }

  #printed(lines) {
    const atEnd = this.output.scrollTop + this.output.clientHeight >= this.output.scrollHeight - 8;
    this.outputNote.hidden = lines.length > 0;
    this.output.hidden = lines.length === 0;
    setText(this.output, lines.join("\n"));
    if (atEnd || !this.seen) this.output.scrollTop = this.output.scrollHeight;
    this.seen = lines.length > 0;
  }

  end() {
    this.asker.end();
    for (const part of [this.running, this.ended, this.timeline]) part.end();
  }
}
