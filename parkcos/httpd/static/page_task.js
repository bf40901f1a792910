// A task: its end first, with the traceback if it failed; then where and when it ran, and with what.

import { terminate } from "./actions.js";
import { Asker } from "./api.js";
import { h, setText, toast } from "./dom.js";
import { ago, duration, moment } from "./format.js";
import { Facts, crumbs, setPill, took } from "./parts.js";
import { FAILED, LIVES } from "./states.js";

export class TaskPage {
  constructor(store, id, offline) {
    Object.assign(this, { store, id: Number(id), offline });
    const task = store.tasks.get(this.id);
    this.title = `${task?.name || "Task"} (No. ${id})`;
    this.heading = h("h1", { tabindex: "-1" }, task?.name || "Task", " ", h("span", { class: "faint" }, `No. ${id}`));
    this.pill = h("span");
    this.stop = h("button", { type: "button", class: "danger-text", on: { click: () => terminate([this.task]) } },
      "Terminate…");
    this.facts = new Facts("Server", "Node", "Kind", "Submitted", "Waited", "Started", "Ended", "Took");
    this.tracebackTitle = h("h2", {}, "Traceback");
    const section = (title, content, ...tools) => h("section", { class: "card", hidden: true },
      h("div", { class: "head" },
        title instanceof Node ? title : h("h2", {}, title), h("span", { class: "grow" }), tools), content);
    this.traceback = h("pre", { class: "traceback", tabindex: "0", "aria-label": "Traceback" });
    this.args = h("pre", { class: "text" });
    this.result = h("pre", { class: "text" });
    const copy = h("button", { type: "button", class: "small", on: { click: () => this.#copy() } }, "Copy");
    this.boxes = { traceback: section(this.tracebackTitle, this.traceback, copy),
      args: section("Arguments", this.args), result: section("Result", this.result) };
    this.note = h("p", { class: "note", hidden: true });
    this.asker = new Asker(`api/tasks/${this.id}`, (answer) => this.#details(answer), (error) => this.#missing(error));
    const back = FAILED.has(task?.state) ? [["Tasks", "#/tasks"], ["failed", "#/tasks?state=failed"]]
      : [["Tasks", "#/tasks"]];
    this.element = h("div", { class: "page narrow" }, crumbs(...back, [`No. ${id}`]),
      h("div", { class: "title" }, this.heading, this.pill, h("span", { class: "grow" }), this.stop),
      this.boxes.traceback, this.facts.element, this.boxes.args, this.boxes.result, this.note);
  }

  update() {
    const task = this.store.tasks.get(this.id);
    if (task) this.task = task;
    if (!this.task || task?.state !== this.asked) {
      this.asked = task?.state;
      this.asker.ask();
    }
    this.tick();
  }

  tick() {
    const { task, store, facts } = this;
    this.stop.hidden = !store.mayAct || !task || !LIVES.has(task.state);
    facts.element.hidden = !task;
    if (!task) return;
    this.stop.disabled = Boolean(this.offline());
    this.stop.title = this.offline();
    setPill(this.pill, "task", task.state);
    const node = store.node(task.node);
    const ran = task.started && task.state !== "queued"; // one that is run again has started before
    const when = (t) => (t ? `${moment(t, store.now)} (${ago(t, store.now)})` : "");
    facts.setLink("Server", `#/servers/${task.server}`, store.serverName(task.server));
    facts.setLink("Node", node ? `#/nodes/${node.id}` : "", node?.name || "");
    facts.set("Kind", task.io ? "I/O task" : "CPU task");
    facts.set("Submitted", when(task.submitted));
    const until = (ran && task.started) || task.ended || store.now;
    facts.set("Waited", task.submitted ? duration(until - task.submitted) : "");
    facts.set("Started", ran ? when(task.started) : "");
    facts.set("Ended", when(task.ended));
    facts.set("Took", ran ? duration(took(task, store.now)) : "");
  }

  #details({ task, args, traceback, result }) {
    this.task = this.store.tasks.get(this.id) || task;
    const text = traceback || this.task.error;
    this.boxes.traceback.hidden = !text;
    setText(this.tracebackTitle, traceback ? "Traceback" : this.task.state === "queued" ? "Run anew" : "Why it ended");
    this.#showTraceback(text);
    this.boxes.args.hidden = false;
    setText(this.args, args === null || args === undefined ? "Not shown: see the settings." : args || "none");
    this.boxes.result.hidden = !result;
    setText(this.result, result || "");
    this.tick();
  }

  /** The last line, which says what went wrong, stands first and large as well. */
  #showTraceback(text) {
    if (this.shown === text) return;
    this.shown = text;
    const whole = text.trimEnd();
    const lines = whole.split("\n");
    const at = lines.findLastIndex((line) => line === (this.task.error || "").split("\n")[0]);
    const cut = at < 0 ? lines.length - 1 : at;
    const before = lines.slice(0, cut).join("\n");
    this.traceback.replaceChildren(before, h("strong", {}, lines.slice(cut).join("\n")));
    this.text = whole;
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(this.text);
      toast("The traceback is copied.");
    } catch {
      const range = document.createRange();
      range.selectNodeContents(this.traceback);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      toast("It is selected: copy it with Ctrl+C. (The browser lets pages copy by themselves under HTTPS alone.)");
    }
  }

  #missing(error) {
    this.note.hidden = false;
    const gone = !this.task && error.status === 404;
    const text = "There is no such task, or it ended long ago: the program keeps the newest.";
    setText(this.note, gone ? text : error.message);
  }

  end() { this.asker.end(); }
}
