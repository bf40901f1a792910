// Questions to the person: a confirmation of what ends tasks, and the settings.

import { post } from "./api.js";
import { h, keepFocus, setText, toast } from "./dom.js";

let last = 0;

/** Opens a dialog with a form; resolves to what `read` gives, or to null when it is left. */
function ask({ title, body, action, tone = "primary", submit }) {
  const id = `dialog-${last += 1}`;
  const opener = document.activeElement;
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const go = h("button", { type: "submit", class: tone }, action);
  const cancel = h("button", { type: "button", on: { click: () => dialog.close() } }, "Cancel");
  const form = h("form", { method: "dialog" }, h("h2", { id }, title), body, problem, h("div", { class: "choices" }, cancel, go));
  const dialog = h("dialog", { "aria-labelledby": id }, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    go.disabled = true;
    try {
      await submit();
      dialog.close();
    } catch (error) {
      setText(problem, error.message);
      problem.hidden = false;
    }
    go.disabled = false;
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => {
    dialog.remove();
    keepFocus(opener);
  });
  document.body.append(dialog);
  dialog.showModal();
  (tone === "danger" ? cancel : form.querySelector("input, button")).focus();
}

/** choices: [[value, label, note]]: of which one is taken; submit(value) does it, and may throw what is then shown. */
export function confirm({ title, text, names = [], choices = [], action, submit }) {
  const radios = choices.map(([value, label, note], index) => h("label", { class: "choice" },
    h("input", { type: "radio", name: "how", value, checked: index === 0 }), h("span", {}, h("strong", {}, label), h("small", {}, note))));
  const body = [h("p", {}, text),
    names.length ? h("ul", { class: "names" }, names.slice(0, 5).map((name) => h("li", {}, name)), names.length > 5 ? h("li", { class: "faint" }, `and ${names.length - 5} more`) : null) : null,
    radios.length ? h("fieldset", {}, h("legend", { class: "visually-hidden" }, "How"), radios) : null];
  ask({ title, body, action, tone: "danger", submit: () =>
    submit(radios.map((label) => label.firstChild).find((radio) => radio.checked)?.value) });
}

export function settings(store) {
  const { poll_s: poll, show_args: shows } = store.settings;
  const interval = h("input", { type: "number", id: "poll", min: "0.5", max: "600", step: "any", value: poll, required: true });
  const args = h("input", { type: "checkbox", id: "args", role: "switch", checked: shows });
  const themes = [["system", "As the system"], ["light", "Light"], ["dark", "Dark"]].map(([value, label]) => h("label", {},
    h("input", { type: "radio", name: "theme", value, checked: window.parkcosTheme.choice === value, on: { change: () => window.parkcosTheme.choose(value) } }), label));
  const over = store.closed;
  interval.disabled = args.disabled = over;
  ask({
    title: "Settings", action: "Save",
    body: [
      h("fieldset", {}, h("legend", {}, "For all who look at this dashboard"),
        h("div", { class: "setting" }, h("label", { for: "poll" }, "Seconds between two updates"), interval),
        h("div", { class: "setting" }, h("label", { for: "args" }, "Show the arguments of tasks"), args),
        h("p", { class: "note" }, over ? "The client is closed: these cannot be changed any more." : "Do not show arguments that are large: each is turned into text and sent.")),
      h("fieldset", {}, h("legend", {}, "In this browser"), h("div", { class: "segments" }, themes)),
    ],
    submit: async () => {
      if (over || (Number(interval.value) === poll && args.checked === shows)) return;
      await post("api/settings", { poll_s: Number(interval.value), show_args: args.checked });
      toast("The settings are changed.");
    },
  });
}
