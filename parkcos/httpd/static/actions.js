// What a person can do to nodes, servers and tasks, and what is asked before tasks are ended.

import { post } from "./api.js";
import { confirm } from "./dialogs.js";
import { h, keepFocus, toast } from "./dom.js";
import { plural } from "./format.js";
import { ENDED_PLACE } from "./states.js";

const HOW = [
  ["", "Let its running tasks end first", "It is given nothing new, and ends when they have ended."],
  ["terminate", "Terminate its running tasks now", "They end without a result."],
];
const DONE = { suspend: "is suspended", resume: "goes on", close: "is being closed", restart: "is being restarted" };

async function act(place, record, action, terminate = false) {
  await post(`api/${place}/${record.id}/${action}`, { terminate });
  toast(`${record.name} ${DONE[action]}.`);
}

async function actNow(place, record, action) {
  try { await act(place, record, action); } catch (error) { toast(error.message, "error"); }
}

/**
 * The buttons of a node or server.  place: "nodes" or "servers".  mayAct: whether there are any.
 * show(record, offline) sets what can be done now.
 */
export class Actions {
  constructor(place, mayAct) {
    this.place = place;
    this.buttons = {};
    const make = (action, label, tone = "") => {
      const on = { click: () => this.#clicked(action) };
      this.buttons[action] = h("button", { type: "button", class: tone, on }, label);
      return this.buttons[action];
    };
    this.element = h("div", { class: "actions", role: "group", "aria-label": "Actions", hidden: !mayAct },
      make("suspend", "Suspend"), make("resume", "Resume"), make("restart", "Restart…"),
      make("close", "Close…", "danger-text"));
  }

  show(record, why = "") {
    this.record = record;
    const ending = record.state === "closing" && this.place === "servers"; // it can still be told to hurry
    const ended = ENDED_PLACE.has(record.state) && !ending;
    const held = record.state === "suspended";
    const focused = this.element.contains(document.activeElement);
    const reason = why || (ended ? "It has ended." : "");
    this.buttons.suspend.hidden = held;
    this.buttons.resume.hidden = !held;
    for (const [action, button] of Object.entries(this.buttons)) {
      const because = reason || (ending && action !== "close" ? "It is being closed." : "");
      if (button.disabled !== Boolean(because)) button.disabled = Boolean(because);
      button.title = because;
    }
    if (focused) keepFocus(held ? this.buttons.resume : this.buttons.suspend);
  }

  #clicked(action) {
    const { place, record } = this;
    if (action === "suspend" || action === "resume") { actNow(place, record, action); return; }
    const what = place === "nodes" ? `Its ${plural(record.servers, "server")}` : "Its process";
    const ends = record.servers === 1 || place === "servers" ? "ends" : "end";
    const runs = record.running
      ? `${plural(record.running, "task")} ${record.running === 1 ? "runs" : "run"} there now.`
      : "No task runs there now.";
    const again = ends === "end" ? " and are set up again" : " and is set up again";
    confirm({
      title: `${action === "close" ? "Close" : "Restart"} ${record.name}?`,
      text: `${what} ${ends}${action === "restart" ? again : ""}. ${runs}`,
      choices: record.state === "closing" ? HOW.slice(1) : record.running ? HOW : [],
      action: action === "close" ? "Close it" : "Restart it",
      submit: (how) => act(place, record, action, how === "terminate"),
    });
  }
}

export function terminate(tasks, done = () => {}) {
  confirm({
    title: `Terminate ${plural(tasks.length, "task")}?`,
    text: tasks.length === 1 ? "It ends at once, without a result." : "They end at once, without a result.",
    names: tasks.map((task) => `${task.name} (No. ${task.id})`),
    action: "Terminate",
    submit: async () => {
      const { missed = [] } = await post("api/tasks/terminate", { tasks: tasks.map((task) => task.id) });
      const many = tasks.length - missed.length;
      const others = missed.length ? ` ${missed.length} had ended, or just began.` : "";
      toast(`${plural(many, "task")} ${many === 1 ? "is" : "are"} being terminated.${others}`);
      done();
    },
  });
}
