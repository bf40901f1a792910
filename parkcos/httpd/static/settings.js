// The settings: those of all who look, and those of this browser.

import { post } from "./api.js";
import { ask } from "./dialogs.js";
import { h, toast } from "./dom.js";

export function settings(store) {
  const { poll_s: poll, show_args: shows } = store.settings;
  const interval = h("input", { type: "number", id: "poll", min: "0.5", max: "600", step: "any", value: poll,
    required: true });
  const args = h("input", { type: "checkbox", id: "args", role: "switch", checked: shows });
  const themes = [["system", "As the system"], ["light", "Light"], ["dark", "Dark"]]
    .map(([value, label]) => h("label", {},
      h("input", { type: "radio", name: "theme", value, checked: window.parkcosTheme.choice === value,
        on: { change: () => window.parkcosTheme.choose(value) } }), label));
  const fixed = store.closed ? "The client is closed: these cannot be changed any more."
    : store.mayAct ? "" : "You may look only: who may act can change these.";
  interval.disabled = args.disabled = Boolean(fixed);
  ask({
    title: "Settings", action: "Save",
    body: [
      h("fieldset", {}, h("legend", {}, "For all who look at this dashboard"),
        h("div", { class: "setting" }, h("label", { for: "poll" }, "Seconds between two updates"), interval),
        h("div", { class: "setting" }, h("label", { for: "args" }, "Show the arguments of tasks"), args),
        h("p", { class: "note" }, 
          fixed || "Do not show arguments that are large: each is turned into text and sent.")),
      h("fieldset", {}, h("legend", {}, "In this browser"), h("div", { class: "segments" }, themes)),
    ],
    submit: async () => {
      if (fixed || (Number(interval.value) === poll && args.checked === shows)) return;
      await post("api/settings", { poll_s: Number(interval.value), show_args: args.checked });
      toast("The settings are changed.");
    },
  });
}
