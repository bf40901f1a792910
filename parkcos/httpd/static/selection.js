// Which tasks of a table are selected, and what can be done to them: for those who may act.

import { terminate } from "./actions.js";
import { h, keepFocus, setText } from "./dom.js";
import { count, plural } from "./format.js";
import { LIVES } from "./states.js";

/** The line of buttons over a table whose rows are selected. */
export class Selection {
  constructor(store, offline, table) {
    this.store = store;
    this.offline = offline;
    this.text = h("span");
    this.go = h("button", { type: "button", class: "danger",
      on: { click: () => terminate(this.tasks, () => table().clearSelection()) } });
    this.element = h("div", { class: "selection", role: "region", "aria-label": "Selected tasks", hidden: true },
      this.text, h("span", { class: "grow" }),
      h("button", { type: "button", on: { click: () => table().clearSelection() } }, "Clear"), this.go);
  }

  /** What the table is to be given as `select`. */
  get boxes() {
    return this.store.mayAct ? { can: (task) => LIVES.has(task.state) && !this.offline(),
      name: (task) => `${task.name}, number ${task.id}`, changed: (ids) => this.show(ids) } : null;
  }

  show(ids) {
    this.tasks = [...ids].map((id) => this.store.tasks.get(id)).filter(Boolean);
    const focused = this.element.contains(document.activeElement);
    this.element.hidden = this.tasks.length === 0;
    if (focused) keepFocus();
    setText(this.text, `${plural(this.tasks.length, "task")} selected`);
    setText(this.go, `Terminate ${count(this.tasks.length)}…`);
  }
}
